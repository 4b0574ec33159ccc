"""`python PATH/TO/THIS/FOLDER COMMAND ...`: the command line from anywhere, without installing.

The same as `python -m flashvideo_core`, also where `-m` does not look into the current folder, as in python_embeded of
the portable ComfyUI.
"""

import runpy

runpy.run_module("flashvideo_core", run_name="__main__", alter_sys=True)
