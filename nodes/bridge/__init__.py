"""The only place that touches comfy.*: our networks, samplers and files as ComfyUI's own objects."""
