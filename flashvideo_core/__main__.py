"""python -m flashvideo_core: see cli/main.py, or run it with --help."""

import sys

if __name__ == "__main__":
    try:
        from .cli.main import main

        sys.exit(main())
    except KeyboardInterrupt:  # while the program itself was loading
        sys.stderr.write("interrupted: stopped before anything was finished\n")
        sys.exit(130)
