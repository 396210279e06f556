"""Text in, records out: entity types, prompts, knowledge, pairs, instances. Needs neither torch nor models."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("ravel-bench")
except PackageNotFoundError:
    __version__ = "0+unknown"
