"""Tables and a model that answers become an instance."""

from ravel.building.build import build_instance
from ravel.building.config import BuildConfig, SourceShares
from ravel.building.report import GuessesError, NothingLeftError

__all__ = ["BuildConfig", "GuessesError", "NothingLeftError", "SourceShares", "build_instance"]
