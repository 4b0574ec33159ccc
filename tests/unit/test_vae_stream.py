"""The VAE's passes span by span: the bits of the whole pass, begun anywhere, with the frames of one span in memory."""

from pathlib import Path

import pytest
import torch

from flashvideo_core.components import Pipeline
from flashvideo_core.config import VAEConfig
from flashvideo_core.handoff import resize_to_target
from flashvideo_core.mapped import allocate
from flashvideo_core.memory import tile_overlap
from flashvideo_core.tiling import map_tiles
from flashvideo_core.vae import VAE
from flashvideo_core.vae_chunks import ChunkSize
from flashvideo_core.vae_passes import decode, encode, stream_frames, to_image_range, to_model_range
from flashvideo_core.vae_stream import count_past_groups, decode_spans, encode_spans

SIZE, TILE = (16, 32), (2, 3)  # pixels, latent rows and columns


@pytest.fixture(scope="module")
def pipe():
    torch.manual_seed(0)
    config = VAEConfig(channels=8, multipliers=(1, 1, 1, 1), blocks=1, groups=4)
    return Pipeline(None, None, VAE(config).eval().requires_grad_(False), None)


@pytest.mark.parametrize("frames, source, split", [(21, SIZE, None), (21, (8, 24), 16 * 32), (57, (8, 24), TILE)])
def test_spans_have_the_bits_of_the_whole_clip(pipe, frames, source, split):
    """Against the VAE's own passes over it; the tiles of 57 frames go through two spans."""
    vae, clip = pipe.vae, torch.rand(frames, *source, 3)
    large = resize_to_target(to_model_range(clip), SIZE)
    if isinstance(split, tuple):
        overlap = tile_overlap(split)
        z = map_tiles(vae.encode, large, tuple(8 * side for side in split), 8 * overlap, (1, 8))
        whole = to_image_range(map_tiles(vae.decode, z, split, overlap, (8, 1)))
    else:
        z = vae.encode(large, chunk_size=ChunkSize(split))
        whole = to_image_range(vae.decode(z, chunk_size=ChunkSize(split)))
    assert torch.equal(encode(pipe, clip, SIZE, None, split), z)
    assert torch.equal(decode(pipe, z, "decode", None, split), whole)
    spans = list(stream_frames(pipe, z, "decode", None, split))
    assert len(spans) == len(decode_spans(z.shape[2], split)) > 1
    assert torch.equal(torch.cat(spans), whole)


@pytest.mark.parametrize("t, split", [(51, None), (62, TILE)])
def test_a_decode_goes_on_anywhere(pipe, t, split):
    """With the spans before it that it depends on, and no others."""
    z = torch.randn(1, 16, t, *(side // 8 for side in SIZE))
    whole, last = list(stream_frames(pipe, z, "decode", None, split)), len(decode_spans(t, split)) - 1
    seen = []
    hook = pipe.vae.decoder.conv_in.register_forward_hook(lambda *_: seen.append(1))
    rest = list(stream_frames(pipe, z, "decode", None, split, last))
    hook.remove()
    assert len(rest) == 1 and torch.equal(rest[0], whole[-1])
    if split is None:
        assert len(seen) == 1 + count_past_groups(pipe.vae.decoder) < len(whole)


def test_steps_count_over_the_whole_clip(pipe):
    steps = []

    def note(phase, step, total, preview):
        steps.append((step, total))

    for frames, split in ((21, None), (57, TILE)):
        steps.clear()
        z = encode(pipe, torch.rand(frames, 8, 24, 3), SIZE, note, split)
        assert [step for step, _ in steps] == list(range(1, steps[0][1] + 1)) and len(steps) == steps[0][1]
        assert len(steps) >= len(encode_spans(frames, split))
        steps.clear()
        list(stream_frames(pipe, z, "decode", note, split))
        assert [step for step, _ in steps] == list(range(1, steps[0][1] + 1)) and len(steps) == steps[0][1]


def test_a_clip_is_read_a_span_at_a_time(pipe):
    """Frames that are nowhere whole: each is made when it is asked for."""

    class Reader:
        size = (8, 24)
        asked = []

        def __len__(self):
            return 51

        def read(self, ranges):
            for start, stop in ranges:
                self.asked.append((start, stop))
                yield torch.stack([torch.full((8, 24, 3), i / 51) for i in range(start, stop)])

    clip = torch.stack([torch.full((8, 24, 3), i / 51) for i in range(51)])
    assert torch.equal(encode(pipe, Reader(), SIZE), encode(pipe, clip, SIZE))
    assert Reader.asked == [(0, 17), (17, 33), (33, 49)]  # 4n+1 of 51


def test_a_tensor_over_the_limit_is_a_file_that_has_no_name(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    there = allocate((3, 5), limit=59)
    there[:] = torch.arange(15).view(3, 5)
    assert not list(tmp_path.iterdir())
    maps = Path("/proc/self/maps")
    assert maps.read_text().count(str(tmp_path)) == 1 and there.sum() == 105
    del there
    assert str(tmp_path) not in maps.read_text()
    assert allocate((3, 5), limit=60).shape == (3, 5) and str(tmp_path) not in maps.read_text()
