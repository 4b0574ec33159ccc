"""Packages that one command needs and the others do not: imported where they are used, named in one line if absent."""

import importlib

from .errors import InputError

PIP_NAMES = {"PIL": "pillow"}  # where pip knows a package by another name


def require_package(package: str, purpose: str, extra: str) -> None:
    """Raises InputError if `package` cannot be imported. purpose: who needs it for what, as a sentence's beginning
    ("train draws its loss curves with"); extra: the optional dependencies of pyproject.toml that hold it.
    """
    try:
        importlib.import_module(package)
    except ImportError:
        name = PIP_NAMES.get(package, package)
        raise InputError(
            f"{purpose} {name}, which is not installed: pip install {name} (or flashvideo with its extra [{extra}])"
        ) from None
