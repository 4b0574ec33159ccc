"""Writes nodes/sample.mp4, the clip that refine-a-video starts with: a scene of the embedded model's world, rendered.

PYTHONPATH=.:tests python tests/support/make_sample.py
"""

from support.comfyui import PACK

from flashvideo_core.media.video_writer import write_video
from flashvideo_core.tiny.clips import get_scene
from flashvideo_core.tiny.render import render

SCENE, SIZE, FRAMES, FPS = 8, (256, 480), 17, 8  # the size of a released draft

if __name__ == "__main__":
    clip = render(get_scene(SCENE), height=SIZE[0], width=SIZE[1], frames=FRAMES)
    write_video(PACK / "nodes" / "sample.mp4", clip.permute(1, 2, 3, 0) / 2 + 0.5, FPS)
