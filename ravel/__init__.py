"""Text in, records out: entity types, prompts, knowledge, pairs, instances. Needs no torch, runs no model."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("ravel-bench")
except PackageNotFoundError:
    __version__ = "0+unknown"
