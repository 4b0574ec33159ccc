"""The cache: what is stored, that its names follow everything it depends on, and that it is made once."""

from dataclasses import replace

import pytest
import torch
from support.own_clips import SIZE, write_data_set

from flashvideo_core.training.cache import (
    LatentConfig,
    build_latents,
    build_text,
    name_latent_files,
    read_tensor,
)
from flashvideo_core.training.data import find_sources
from flashvideo_core.training.degradation import Degradation, degrade, make_degraded_draft, make_draft
from flashvideo_core.training.spans import find_spans, read_span

CONFIG = LatentConfig(SIZE, (16, 32), "vae", variants=2)


@pytest.fixture(scope="module")
def spans(tmp_path_factory):
    sources, skipped = find_sources(write_data_set(tmp_path_factory.mktemp("cache") / "clips"))
    assert not skipped
    return find_spans(sources, size=SIZE, frames=9, fps=8)[0]


class Encoder:
    """Stands where the VAE's hand-off is injected: remembers what it is given; 8x8 means, four times over."""

    def __init__(self):
        self.given = []

    def __call__(self, frames, size):
        self.given.append((frames, size))
        grid = torch.nn.functional.interpolate(frames.transpose(0, 1), size=(size[0] // 8, size[1] // 8), mode="area")
        return grid[::4].transpose(0, 1).repeat(6, 1, 1, 1)[:16]


def test_a_clip_is_stored_with_the_references_of_its_degraded_drafts(tmp_path, spans):
    encode = Encoder()
    files = name_latent_files(tmp_path, spans, CONFIG)
    assert build_latents(files, CONFIG, encode) == []
    assert [len(paths) for paths in files.values()] == [3, 3, 3] and len(encode.given) == 9
    clip = read_span(spans[0], SIZE)
    (z, size), (one, _), (two, _) = encode.given[:3]
    assert torch.equal(z, clip) and size == SIZE
    assert one.shape == two.shape == (3, 9, 16, 32) and not torch.equal(one, two)
    again = make_degraded_draft(clip, CONFIG.draft_size, CONFIG.degradation, int(files[spans[0]][1].stem[:15], 16))
    assert torch.equal(one, again)
    assert torch.equal(
        make_draft(clip, CONFIG.draft_size)[:, 3],
        torch.nn.functional.interpolate(clip[:, 3][None], (16, 32), mode="area")[0],
    )
    stored = read_tensor(files[spans[0]][0])
    assert stored.shape == (16, 3, 8, 12) and torch.equal(stored, Encoder()(clip, SIZE).half().float())


def test_what_is_there_is_kept_and_what_is_missing_is_the_same_again(tmp_path, spans):
    files = name_latent_files(tmp_path, spans, CONFIG)
    build_latents(files, CONFIG, Encoder())
    victim = files[spans[1]][2]
    before = victim.read_bytes()
    victim.unlink()
    encode, heard = Encoder(), []
    build_latents(files, CONFIG, encode, lambda *step: heard.append(step))
    assert len(encode.given) == 1 and victim.read_bytes() == before
    assert heard == [(1, 3), (2, 3), (3, 3)]
    assert not list((tmp_path / "latents").glob(".*"))


@pytest.mark.parametrize(
    ("change", "new"),
    [
        ({"vae": "other"}, 3),
        ({"size": (48, 96)}, 3),
        ({"draft_size": (32, 48)}, 2),
        ({"seed": 1}, 2),
        ({"degradation": replace(Degradation(), blur_prob=0.5)}, 2),
        ({"variants": 3}, 1),
        ({}, 0),
    ],
)
def test_a_name_follows_all_that_the_content_depends_on(tmp_path, spans, change, new):
    """Another degradation makes other references and keeps z; another VAE makes all anew."""
    before, after = (
        name_latent_files(tmp_path, spans[:1], recipe)[spans[0]] for recipe in (CONFIG, replace(CONFIG, **change))
    )
    assert len(set(after) - set(before)) == new
    if "vae" not in change and "size" not in change:
        assert after[0] == before[0]


def test_names_follow_the_bytes_of_a_file_and_not_its_place(tmp_path, spans):
    source = spans[0].source
    moved = tmp_path / "renamed.mp4"
    moved.write_bytes(source.path.read_bytes())
    same = replace(spans[0], source=replace(source, path=moved))
    assert list(name_latent_files(tmp_path, [same], CONFIG).values()) == list(
        name_latent_files(tmp_path, spans[:1], CONFIG).values()
    )
    moved.write_bytes(source.path.read_bytes() + b"x")
    assert list(name_latent_files(tmp_path, [same], CONFIG).values()) != list(
        name_latent_files(tmp_path, spans[:1], CONFIG).values()
    )


def test_what_cannot_be_encoded_is_skipped_with_its_reason(tmp_path, spans):
    huge = build_latents(
        name_latent_files(tmp_path, spans[:1], CONFIG), CONFIG, lambda f, s: torch.full((16, 3, 8, 12), 1e6)
    )
    assert [str(skip) for skip in huge] == [f"skipped {spans[0]}: its z holds NaN or infinity, or does not fit float16"]
    assert not list(tmp_path.rglob("*.safetensors"))


def test_text_is_encoded_once_a_caption_and_loads_nothing_when_it_is_there(tmp_path):
    asked = []

    def load():
        return lambda text: asked.append(text) or torch.full((1, 4, 3), len(text) / 3)

    files = build_text(tmp_path, ["b b", "a", "b b"], "encoder", load)
    assert asked == ["a", "b b"] and torch.equal(read_tensor(files["a"]), torch.full((4, 3), 1 / 3))
    assert build_text(tmp_path, ["a", "b b"], "encoder", None) == files
    assert build_text(tmp_path, ["a"], "another encoder", load)["a"] != files["a"]


def test_degrading_a_clip_is_degrading_its_draft(spans):
    clip = read_span(spans[0], SIZE)
    wanted = degrade(make_draft(clip, CONFIG.draft_size), CONFIG.degradation, torch.Generator().manual_seed(5))
    assert torch.equal(make_degraded_draft(clip, CONFIG.draft_size, CONFIG.degradation, 5), wanted)
