"""What `train tiny` needs beside its networks: clips and captions, made by other processes while the networks train."""

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..training.distributed import World
from .caption_table import draw_all_captions
from .latent_shards import Shards, start_shards
from .latents import DRAFTS, PAIRS, PATCH_PAIRS
from .pools import render_pool
from .recipe_stages import STAGE1_MENTIONED
from .recipe_text import EXAMPLES, draw_all_examples
from .recipe_vae import POOLS
from .rendering import AHEAD, ALL, Clips

DRAFT_COUNT, PATCH_COUNT, PAIR_COUNT = 6144, 1536, 192  # clips whose latents are made


@dataclass(frozen=True)
class Material:
    """What renderers make without a network, in the order in which it is needed."""

    pools: dict[str, Iterator[Clips]]
    examples: Iterator[Clips]
    drafts: Shards
    draft_captions: Iterator[Clips]
    patches: Shards
    pairs: Shards
    captions: Iterator[Clips]


def start_material(folder: Path, world: World, renderers: Executor) -> Material:
    """Begins to make it: for a GPU, which is soon done with what came before, all of it at once (some 7 GB)."""
    ahead = ALL if world.kind == "cuda" else AHEAD
    here = {"renderers": renderers, "ahead": ahead}
    shards = partial(start_shards, folder / "latents", world=world, **here)
    lacks_vae = world.first and not (folder / "vae.safetensors").exists()
    lacks_text = world.first and not (folder / "text.safetensors").exists()
    return Material(
        pools={kind: render_pool(kind, count, **here) for kind, count in POOLS.items() if lacks_vae},
        examples=draw_all_examples(count=EXAMPLES if lacks_text else 0, **here),
        drafts=shards(DRAFTS, count=DRAFT_COUNT),
        draft_captions=draw_all_captions(DRAFT_COUNT, STAGE1_MENTIONED, **here),
        patches=shards(PATCH_PAIRS, count=PATCH_COUNT),
        pairs=shards(PAIRS, count=PAIR_COUNT),
        captions=draw_all_captions(max(PATCH_COUNT, PAIR_COUNT), **here),
    )
