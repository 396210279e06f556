"""Tables and a model that answers become an instance."""

from typing import TYPE_CHECKING

from ravel.building.config import BuildConfig, SourceShares
from ravel.common.registry.late import late_names

if TYPE_CHECKING:
    from ravel.building.build import build_instance
    from ravel.building.report import GuessesError, NothingLeftError
else:
    # Suites and presets name a build without making one, which takes numpy.
    __getattr__ = late_names(
        __name__,
        {
            "ravel.building.build": ("build_instance",),
            "ravel.building.report": ("GuessesError", "NothingLeftError"),
        },
    )

__all__ = ["BuildConfig", "GuessesError", "NothingLeftError", "SourceShares", "build_instance"]
