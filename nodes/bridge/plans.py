"""The memory plan of one node before it runs, with ComfyUI's devices and dtypes, and its way to the editor."""

import asyncio
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import comfy.model_management as mm
import torch
from aiohttp import web
from server import PromptServer

from ...flashvideo_core.checkpoint import holds_fp8, open_weights
from ...flashvideo_core.config import TransformerConfig
from ...flashvideo_core.dit import Transformer
from ...flashvideo_core.errors import InputError
from ...flashvideo_core.memory import PhasePlan, VAEKind, plan_pass, plan_stage, vae_peak
from ...flashvideo_core.memory.run import ClipSize, weight_bytes
from ...flashvideo_core.settings import RefineSettings
from ...flashvideo_core.vae import VAE
from .models import StageConfig, choose_dtypes
from .types import Prompt
from .vae_fallback import TILE_SIZES

ROUTE = "/flashvideo/plan"
VAE_DTYPES = [torch.float16, torch.bfloat16, torch.float32]


def plan_sampling(path: Path, dtype: torch.dtype | None, clip: ClipSize, windows: str = "off") -> PhasePlan:
    """Of a stage's file over a clip (frames, height, width). dtype: of storage, None for ComfyUI's choice. windows:
    over which stage 2 goes, by RefineSettings' name.

    Raises InputError for a file that holds no stage.
    """
    config, weights, compute, fp8 = read_stage(path, dtype)
    settings = None if windows == "off" else RefineSettings.from_defaults(config.defaults, windows=windows)
    seen = settings and settings.latent_windows
    free = free_for(mm.get_torch_device())
    return plan_stage(f"stage{config.stage}", config, clip, compute, free, fp8, weights, seen)


@lru_cache(maxsize=16)
def read_stage(path: Path, dtype: torch.dtype | None) -> tuple[TransformerConfig, int, torch.dtype, bool]:
    """Config, bytes of the weights as ComfyUI will keep them, dtype of the work, and whether layers are in fp8."""
    weights = open_weights(path, "transformer")
    stage = StageConfig(weights)
    fp8 = holds_fp8(weights)
    stage.quant_config = {"mixed_ops": True} if fp8 else None
    storage, cast = choose_dtypes(weights, stage, dtype, mm.get_torch_device())
    kept = weight_bytes(Transformer, weights.config, storage, fp8)
    return weights.config, kept, cast or storage, fp8 or storage.itemsize == 1


def plan_vae(path: Path, kind: VAEKind, clip: ClipSize, tiling: str = "auto") -> PhasePlan:
    """Of the VAE's pass over a clip, in pieces as memory asks or of a size in TILINGS. Raises InputError as above."""
    device = mm.vae_device()
    config, dtype = open_weights(path, "vae").config, mm.vae_dtype(device, VAE_DTYPES)
    if tiling == "auto":
        return plan_pass(kind, config, kind, clip, dtype, device, free_for(device))
    tile = TILE_SIZES.get(tiling)
    pass_size = clip[1:] if tile is None else (8 * tile[0], 8 * tile[1])
    work = vae_peak(config, kind, (clip[0], *pass_size), dtype, device)
    return PhasePlan(kind, clip, weight_bytes(VAE, config, dtype), work, split=tile)


def free_for(device: torch.device) -> int:
    """Bytes that ComfyUI can make free there: what is free, and what its loaded models would give up."""
    loaded = (model.model_loaded_memory() for model in mm.current_loaded_models if model.device == device)
    return mm.get_free_memory(device) + (0 if mm.is_device_cpu(device) else sum(loaded))


def add_route(plan_prompt: Callable[[Prompt], dict[str, str]]) -> None:
    """Lets the editor send a prompt to ROUTE and get the texts for its nodes, by node id."""
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return

    @server.routes.post(ROUTE)
    async def answer(request: web.Request) -> web.Response:
        try:
            prompt = await request.json()
            check_prompt(prompt)
        except ValueError as error:  # of JSON too
            return web.json_response({"error": f"no prompt in API form: {error}"}, status=400)
        loop = asyncio.get_running_loop()
        return web.json_response(await loop.run_in_executor(None, plan_prompt, prompt))


def check_prompt(prompt: object) -> None:
    """Raises InputError for what is no {id: {"class_type": text, "inputs": {...}}}."""
    nodes = prompt.values() if isinstance(prompt, dict) else [None]
    for node in nodes:
        if not isinstance(node, dict) or not isinstance(node.get("inputs"), dict) or "class_type" not in node:
            raise InputError("it must be a table of nodes, each with class_type and inputs")
