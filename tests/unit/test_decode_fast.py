"""`--decode fast`: a small decoder shows drafts and clips; latents, and what does not ask for it, stay as they are."""

import json

import pytest
import torch
from safetensors.torch import save_file
from support.cli_run import SMALL, VAE, component_options, run, show_same_frames

from flashvideo_core.checkpoint import make_metadata
from flashvideo_core.cli.main import main
from flashvideo_core.config import SmallDecoderConfig
from flashvideo_core.media.draft_file import load_draft
from flashvideo_core.media.video_reader import read_video
from flashvideo_core.pipeline import Draft, load_pipeline, refine
from flashvideo_core.small_decoder import SmallDecoder
from flashvideo_core.vae_passes import decode
from flashvideo_core.weights.reader import file_sha256

PROMPT = "a red ball moves left"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("base")


@pytest.fixture(scope="module")
def decoder(base):
    """A decoder with random weights, of the golden VAE."""
    return save_decoder(base / "small.safetensors", file_sha256(VAE))


def save_decoder(path, vae_sha256):
    torch.manual_seed(0)
    model = SmallDecoder(SmallDecoderConfig(widths=(8, 8, 8, 8)))
    save_file(model.state_dict(), path, make_metadata(model.config) | {"vae_sha256": vae_sha256})
    return path


@pytest.fixture(scope="module")
def components(base):
    return component_options(base)


@pytest.fixture(scope="module")
def whole(base, components):
    assert main(["generate", PROMPT, *components, *SMALL, "--crf", "1", "--output", str(base / "whole")]) == 0
    return base / "whole"


@pytest.fixture(scope="module")
def fast(base, components, decoder):
    words = ["generate", PROMPT, *components, *SMALL, "--crf", "1", "--decode", "fast", "--decoder", str(decoder)]
    assert main([*words, "--output", str(base / "fast")]) == 0
    return base / "fast"


def read_record(folder):
    return json.loads((folder / "clip.json").read_text("utf-8"))


def test_what_is_shown_is_the_small_decoders(fast, whole, decoder):
    shown = read_video(fast / "draft.mp4").frames
    frames = decode(
        load_pipeline(decoder=decoder, vae=VAE, device="cpu"), load_draft(fast / "draft.safetensors")[0], ""
    )
    assert (frames - shown).square().mean() < 1e-3
    assert not show_same_frames(fast / "draft.mp4", whole / "draft.mp4")
    assert not show_same_frames(fast / "final.mp4", whole / "final.mp4")


def test_the_record_names_the_decoder_and_else_is_the_same(fast, whole, decoder):
    made, plain = read_record(fast), read_record(whole)
    assert made["weights"].pop("decoder") == {"file": decoder.name, "sha256": file_sha256(decoder)}
    assert made["paths"].pop("decoder") == str(decoder)
    assert made.pop("drift") != plain.pop("drift")  # of the frames that are shown
    assert made == plain
    assert (fast / "draft.safetensors").read_bytes() == (whole / "draft.safetensors").read_bytes()


def test_from_repeats_the_decoder_and_another_can_be_named(fast, whole, tmp_path, capsys):
    code, _, _ = run(capsys, "generate", "--from", fast / "clip.json", "--output", tmp_path / "again")
    assert code == 0
    assert (tmp_path / "again/clip.json").read_bytes() == (fast / "clip.json").read_bytes()
    assert show_same_frames(tmp_path / "again/final.mp4", fast / "final.mp4")
    run(capsys, "generate", "--from", fast / "clip.json", "--decode", "whole", "--output", tmp_path / "whole")
    assert (tmp_path / "whole/clip.json").read_bytes() == (whole / "clip.json").read_bytes()
    assert show_same_frames(tmp_path / "whole/final.mp4", whole / "final.mp4")


def test_refine_of_a_draft_starts_from_the_whole_decoding(components, decoder, whole):
    """The latent of the refined clip is bit for bit that of a run without a small decoder."""
    files = dict(zip((word.removeprefix("--") for word in components[::2]), components[1::2], strict=True))
    files = {name: path for name, path in files.items() if name != "stage1"}
    files["text"] = files.pop("embeddings")
    latent, _ = load_draft(whole / "draft.safetensors")
    plain, quick = (load_pipeline(**files, device="cpu", decoder=file) for file in (None, decoder))
    made = []
    for pipe in (plain, quick):
        d = Draft(PROMPT, decode(pipe, latent, "draft_decode"), latent)
        made.append(refine(pipe, d, size=(64, 96), steps=1))
    assert not torch.equal(made[0].draft.frames, made[1].draft.frames)
    assert torch.equal(made[0].latent, made[1].latent)
    assert torch.equal(made[0].frames, decode(plain, made[1].latent, "decode"))
    clip = Draft(PROMPT, made[1].draft.frames)  # of no latent: the frames are all there is
    assert not torch.equal(refine(quick, clip, size=(64, 96), steps=1).latent, made[0].latent)


def test_a_latent_that_could_not_be_decoded_whole_is_decoded_fast(components, decoder, tmp_path, monkeypatch, capsys):
    """What stage 2 made lies there after an interruption, for either decoder."""
    words = ["generate", PROMPT, *components, *SMALL, "--output", str(tmp_path)]

    def stop(*args, **kwargs):
        raise torch.OutOfMemoryError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr("flashvideo_core.clip_stream.stream_frames", stop)
        assert run(capsys, *words)[0] != 0
    code, _, said = run(capsys, *words, "--decode", "fast", "--decoder", decoder)
    assert code == 0
    assert "going on from the refined latent" in said


def test_what_cannot_be_is_said_in_one_line(components, decoder, tmp_path, capsys):
    words = ["generate", PROMPT, *components, *SMALL, "--output", str(tmp_path)]
    other = save_decoder(tmp_path / "other.safetensors", "0" * 64)
    for more, part in (
        (["--decode", "fast"], "taecvx.pth of github.com/madebyollin/taehv"),
        (["--decoder", decoder], "--decoder is for a quick decoding: add --decode fast"),
        (["--decode", "fast", "--decoder", VAE], "holds the weights of vae; decoder is needed here"),
        (["--decode", "fast", "--decoder", other], "is the decoder of another VAE than 3d-vae.pt"),
    ):
        code, _, said = run(capsys, *words, *more)
        assert code == 2, said
        assert part in said and said.count("\n") == 1
