"""ComfyUI-FlashVideo: two-stage text-to-video in ComfyUI. Nothing but the entry point is imported here."""

WEB_DIRECTORY = "./nodes/web"


async def comfy_entrypoint():
    """Called by ComfyUI at start; pytest imports this file too, so ComfyUI is imported only in here."""
    import logging

    try:
        from .nodes import FlashVideoExtension
    except Exception:
        logging.exception("ComfyUI-FlashVideo could not be loaded")  # ComfyUI itself would log one line only
        raise
    return FlashVideoExtension()
