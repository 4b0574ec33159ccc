"""Which small decoder `--decode fast` takes, and whether it is one of the run's VAE."""

from pathlib import Path

from ..checkpoint import open_weights
from ..components import TINY
from ..config import VAE as RELEASED_VAE
from ..config import VAEConfig
from ..errors import InputError
from ..weights.wrappers import VAE_HASH
from .options import ComponentOptions
from .record import WeightsHash


def choose_decoder(options: ComponentOptions, vae: Path, recorded: Path | None) -> Path | None:
    """The decoder's file, as named, else of the clip that is repeated, else the embedded VAE's; None for the whole VAE.

    Raises InputError for a file without --decode fast, and for a VAE without one.
    """
    if options.decode != "fast":
        if options.decoder is not None:
            raise InputError("--decoder is for a quick decoding: add --decode fast")
        return None
    if options.decoder is not None:
        return Path(options.decoder)
    if recorded is None and vae.parent != TINY:
        raise InputError(
            "--decode fast needs a small decoder of this VAE: name it with --decoder "
            "(of the released VAE: taecvx.pth of github.com/madebyollin/taehv)"
        )
    return recorded or TINY / "decoder.safetensors"


def check_decoder(path: Path, vae: VAEConfig, vae_hash: WeightsHash) -> None:
    """Raises InputError for a decoder of another VAE. One that names none is a taecvx, for the released VAE."""
    trained_for = open_weights(path).metadata.get(VAE_HASH)
    fits = vae_hash.get("sha256") == trained_for if trained_for else vae == RELEASED_VAE
    if not fits:
        raise InputError(f"{path} is the decoder of another VAE than {vae_hash['file']}")
