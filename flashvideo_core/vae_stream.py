"""The VAE's passes over a clip of any length: of its frames only those of one span are in memory.

A span is a temporal group or, in tiles, several that a tile goes through before the next one does. What the causal
convolutions need of the past is kept from span to span, for each tile by itself, so every frame has the bits that a
pass over the whole clip gives it.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from .memory import VAESplit, is_tiled, tile_overlap
from .sizes import clip_size
from .small_decoder import PAST, SmallDecoder
from .tiling import count_tiles, map_tiles
from .types import OnTile
from .vae import VAE, decode_groups, encode_groups
from .vae_chunks import ChunkSize
from .vae_layers import Cache, CausalConv3d

Group = tuple[int, int]
"""First frame (or latent frame) of a temporal group, and the first one after it."""

TILED_DECODE, TILED_ENCODE = 6, 3  # groups of a span, 49 frames: between spans the past of all tiles is moved about


def encode_spans(frames: int, split: VAESplit) -> list[list[Group]]:
    """The groups that go through the encoder before the frames of the next ones are needed."""
    return _split_list(encode_groups(frames), TILED_ENCODE if is_tiled(split) else 1)


def decode_spans(t: int, split: VAESplit) -> list[list[Group]]:
    """The groups that go through the decoder before any of their frames are there."""
    return _split_list(decode_groups(t), TILED_DECODE if is_tiled(split) else 1)


def stream_encode(
    vae: VAE,
    spans: Iterable[Tensor],
    frames: int,
    size: tuple[int, int],
    split: VAESplit,
    device: torch.device,
    on_step: OnTile,
) -> Iterator[Tensor]:
    """The frames [1, 3, F, H, W] in -1..1 of each of `encode_spans`, which have size (H, W) -> their latents.

    on_step(done, total) counts groups, or the tiles of all spans.
    """
    lists = encode_spans(frames, split)
    if not is_tiled(split):
        cache: Cache = {}
        for i, large in enumerate(spans, 1):
            latent = vae.encode_group(large, cache, i == len(lists), chunk_size=ChunkSize(split))
            on_step(i, len(lists))
            yield latent
        return
    tile, overlap = (8 * split[0], 8 * split[1]), 8 * tile_overlap(split)
    caches: list[Cache] = [{} for _ in range(count_tiles(size, tile, overlap, 8))]
    for i, (groups, large) in enumerate(zip(lists, spans, strict=True)):
        last, past = i + 1 == len(lists), iter(caches)
        yield map_tiles(
            lambda x, groups=groups, last=last, past=past: _encode_tile(vae, x, groups, next(past), last, device),
            large,
            tile,
            overlap,
            (1, 8),
            _count_from(i, len(lists), on_step),
        )


def stream_decode(
    vae: VAE, z: Tensor, split: VAESplit, device: torch.device, on_step: OnTile, start: int = 0
) -> Iterator[Tensor]:
    """Latent [1, 16, T, h, w] -> frames [1, 3, F, H, W] in -1..1 of each of `decode_spans` from number `start` on.

    As many spans before `start` as it depends on are decoded again. on_step as of `stream_encode`, over the whole clip.
    """
    lists = decode_spans(z.shape[2], split)
    skipped = max(0, start - -(-count_past_groups(vae.decoder) // len(lists[0])))
    if not is_tiled(split):
        cache: Cache = {}
        for i, ((first, stop),) in enumerate(lists[skipped:], skipped):
            frames = vae.decode_group(z[:, :, first:stop], cache, i == 0, stop == z.shape[2], ChunkSize(split))
            if i >= start:
                on_step(i + 1, len(lists))
                yield frames
        return
    z, overlap = z.cpu(), tile_overlap(split)
    caches: list[Cache] = [{} for _ in range(count_tiles(z.shape[3:], split, overlap))]
    for i, groups in enumerate(lists[skipped:], skipped):
        span, past = z[:, :, groups[0][0] : groups[-1][1]], iter(caches)
        ends = i == 0, groups[-1][1] == z.shape[2]
        frames = map_tiles(
            lambda x, groups=groups, ends=ends, past=past: _decode_tile(vae, x, groups, next(past), *ends, device),
            span,
            split,
            overlap,
            (8, 1),
            _count_from(i, len(lists), on_step),
        )
        if i >= start:
            yield frames


def stream_small_decode(
    decoder: SmallDecoder, z: Tensor, split: VAESplit, on_step: OnTile, start: int = 0
) -> Iterator[Tensor]:
    """`stream_decode` by a small decoder: the spans that the split makes, each latent frame in one piece."""
    lists, cache = decode_spans(z.shape[2], split), {}
    skipped = max(0, start - -(-PAST // 2))  # a span has at least two latent frames
    for i, groups in enumerate(lists[skipped:], skipped):
        latent_frames = range(groups[0][0], groups[-1][1])
        frames = torch.cat([decoder.decode_frame(z[:, :, t : t + 1], cache, t == 0) for t in latent_frames], dim=2)
        if i >= start:
            on_step(i + 1, len(lists))
            yield frames


def count_past_groups(network: nn.Module) -> int:
    """How many groups before it a group depends on: each causal convolution looks into the one before."""
    return sum(isinstance(module, CausalConv3d) for module in network.modules())


def _split_list(groups: Sequence[Group], count: int) -> list[list[Group]]:
    return [list(groups[i : i + count]) for i in range(0, len(groups), count)]


def _count_from(span: int, spans: int, on_step: OnTile) -> OnTile:
    """on_tile of one span as on_step over all of them, which have as many tiles each."""
    return lambda done, tiles: on_step(span * tiles + done, spans * tiles)


def _encode_tile(
    vae: VAE, frames: Tensor, groups: list[Group], cache: Cache, last: bool, device: torch.device
) -> Tensor:
    """A tile of a span's frames -> its latent. last: no span follows, so nothing has to be kept of this one."""
    _move_cache(cache, device)
    frames, begin = frames.to(device), groups[0][0]
    out = [
        vae.encode_group(frames[:, :, start - begin : stop - begin], cache, last and stop == groups[-1][1])
        for start, stop in groups
    ]
    _put_away(cache, last)
    return torch.cat(out, dim=2)


def _decode_tile(
    vae: VAE, z: Tensor, groups: list[Group], cache: Cache, first: bool, last: bool, device: torch.device
) -> Tensor:
    """A tile of a span's latent -> its frames, float32 on the device. first, last: span of the clip."""
    _move_cache(cache, device)
    z, begin, done = z.to(device), groups[0][0], 0
    count = clip_size(*z.shape[2:])[0] if first else 4 * z.shape[2]
    out = torch.empty(1, 3, count, 8 * z.shape[3], 8 * z.shape[4], device=device)
    for start, stop in groups:
        is_first, is_last = first and start == 0, last and stop == groups[-1][1]
        frames = vae.decode_group(z[:, :, start - begin : stop - begin], cache, is_first, is_last)
        out[:, :, done : done + frames.shape[2]] = frames
        done += frames.shape[2]
    _put_away(cache, last)
    return out


def _put_away(cache: Cache, last: bool) -> None:
    """What the next span needs of a tile waits on the host, since all tiles' would not fit beside one's work."""
    if last:
        cache.clear()
    _move_cache(cache, torch.device("cpu"))


def _move_cache(cache: Cache, device: torch.device) -> None:
    for module, past in cache.items():
        cache[module] = past.to(device)
