"""The FlashVideo engine: two-stage text-to-video (arXiv 2502.05179), free of ComfyUI."""
