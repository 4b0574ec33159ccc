"""The command `train decoder`: a small decoder for the embedded VAE, or another of its world, and how near it comes."""

import argparse
from pathlib import Path

from ..checkpoint import load_small_decoder, load_vae
from ..components import TINY, read_component_configs
from ..device import pick_device
from ..tiny.evaluate import check_counts
from ..tiny.evaluate_decoder import format_decoder, measure_decoder
from ..tiny.train_decoder import train_decoder
from ..training.contact_sheet import write_contact_sheet
from ..training.distributed import init_distributed
from ..vae_passes import to_model_range
from ..weights.atomic import check_writable
from .components import resumable
from .progress import Reporter
from .tables import format_bytes


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    vae = Path(args.vae or TINY / "vae.safetensors")
    train(Path(args.folder), vae, args.seed, args.device, args.clips, reporter)


def train(folder: Path, vae: Path, seed: int, device: str | None, clips: int, reporter: Reporter) -> None:
    """Makes in the folder what is not there yet; Ctrl-C keeps the last saved state. Then measures and draws `clips`."""
    read_component_configs({"vae": vae})
    check_counts(clips=clips)
    check_writable(folder)
    with resumable(folder), init_distributed(str(pick_device(device))) as world:
        path = train_decoder(folder, vae, seed, reporter.progress, world)
        if not world.first:
            return
        decoder, teacher = load_small_decoder(path, world.device), load_vae(vae, world.device)
        rows, drafts = measure_decoder(teacher, decoder, clips, reporter.progress)
    picture, size = folder / "decoder.png", path.stat().st_size
    pairs = [tuple(to_model_range(clip)[0] for clip in (shown.whole, shown.small)) for shown in drafts]
    write_contact_sheet(pairs, picture, columns=min(4, clips))
    result = {"file": str(path), "bytes": size, "picture": str(picture), "rows": rows}
    reporter.finish(result, [format_decoder(rows), f"{path}: {format_bytes(size)}", str(picture)])
