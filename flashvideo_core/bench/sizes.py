"""What is measured: a workload (a network, a sampler, a whole clip) at a named size."""

from dataclasses import dataclass, replace

from ..config import STAGE1, STAGE2, VAE, TransformerConfig, VAEConfig
from ..errors import InputError
from ..windows import Window

Latent = tuple[int, int, int]
"""Latent frames, height and width."""

LATENT_FIELD = {  # workload -> the field of Size with the latent that it is given
    "vae-decode": "vae_latent",
    "vae-encode": "vae_latent",
    "dit": "clip_latent",
    "stage1": "draft_latent",
    "stage2": "clip_latent",
    "end-to-end": "clip_latent",
}
WORKLOADS = tuple(LATENT_FIELD)
NETWORKS = WORKLOADS[:3]  # the workloads that are one pass of one network
_TINY_WIDTHS = {"layers": 2, "hidden": 128, "time_dim": 64, "text_dim": 64, "text_length": 8}
_TWO_LAYERS = {"layers": 2, "hidden": 1920}


@dataclass(frozen=True)
class Size:
    """Networks, and the latents (T, H, W) that they are given; an encode takes the frames of its latent.

    `transformer` runs alone, in the layout of stage 1, which other implementations have too; the samplers have networks
    of their own. A whole clip goes from `draft_latent` to `clip_latent`. `window`: of attention, where it has one.
    `steps`: evaluations of the two samplers.
    """

    vae: VAEConfig
    vae_latent: Latent
    transformer: TransformerConfig
    stage1: TransformerConfig
    stage2: TransformerConfig
    draft_latent: Latent
    clip_latent: Latent
    window: Window
    steps: tuple[int, int] = (3, 2)

    def latent_of(self, workload: str) -> Latent:
        """The latent that a workload is given."""
        return getattr(self, LATENT_FIELD[workload])


def _make_size(
    vae: VAEConfig, vae_latent: Latent, widths: dict[str, int], draft: Latent, clip: Latent, window: Window
) -> Size:
    stage1, stage2 = replace(STAGE1, **widths), replace(STAGE2, **widths)
    return Size(vae, vae_latent, stage1, stage1, stage2, draft, clip, window)


_ONE_BLOCK = {"tiny": replace(VAE, channels=32, blocks=1), "narrow": replace(VAE, channels=64, blocks=1)}
_NARROW = {"layers": 2, "hidden": 768}
SIZES = {
    "tiny": _make_size(_ONE_BLOCK["tiny"], (3, 4, 6), _TINY_WIDTHS, (3, 4, 6), (3, 8, 12), Window(2, 3)),
    "narrow": _make_size(_ONE_BLOCK["narrow"], (3, 16, 24), _NARROW, (3, 12, 18), (3, 24, 36), Window(12, 16)),
    "small": _make_size(VAE, (3, 8, 12), _TWO_LAYERS, (3, 8, 12), (3, 16, 24), Window(4, 6)),
    "medium": _make_size(VAE, (5, 16, 24), _TWO_LAYERS, (5, 16, 24), (5, 32, 48), Window(8, 12)),
    "released": Size(
        vae=VAE,
        vae_latent=(13, 134, 240),
        transformer=replace(STAGE1, layers=STAGE2.layers, hidden=STAGE2.hidden),
        stage1=STAGE1,
        stage2=STAGE2,
        draft_latent=(13, 32, 60),
        clip_latent=(13, 134, 240),
        window=Window(24, 40),
        steps=(51, 4),
    ),
}


def find_size(workload: str, name: str, latent: Latent | None = None) -> Size:
    """The named size; a latent replaces the one that the workload is given.

    Raises InputError for an unknown workload or size, and for a latent that the workload cannot take.
    """
    if workload not in WORKLOADS:
        raise InputError(f"{workload} is no part; use {', '.join(WORKLOADS)}")
    if name not in SIZES:
        raise InputError(f"{name} is no size; use {', '.join(SIZES)}")
    if latent is None:
        return SIZES[name]
    field = LATENT_FIELD[workload]
    if len(latent) != 3 or min(latent) < 1 or (field != "vae_latent" and any(side % 2 for side in latent[1:])):
        rule = "it is TxHxW, each at least 1, H and W even where a transformer takes it"
        raise InputError(f"latent {format_latent(latent)}: {rule}")
    size = replace(SIZES[name], **{field: tuple(latent)})
    if workload == "end-to-end":
        size = replace(size, draft_latent=(latent[0], *size.draft_latent[1:]))
    return size


def parse_latent(text: str) -> Latent:
    """ "5x16x24" -> (5, 16, 24). Raises InputError for anything else."""
    try:
        t, h, w = map(int, text.split("x"))
    except ValueError:
        raise InputError(f"latent {text!r}: write it as TxHxW, such as 5x16x24") from None
    return t, h, w


def format_latent(latent: Latent) -> str:
    """(5, 16, 24) -> "5x16x24"."""
    return "x".join(map(str, latent))


def frame_size(latent: Latent) -> tuple[int, int]:
    """Height and width in pixels of a latent's frames."""
    return 8 * latent[1], 8 * latent[2]
