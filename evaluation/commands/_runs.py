"""How commands open the folder of a run; they compute nothing of it."""

from __future__ import annotations

from pathlib import Path

from ravel.common.errors import SuiteError

__all__ = ["no_run"]


def no_run(folder: Path, todo: str) -> SuiteError:
    """Return the error for a folder that holds no run."""
    return SuiteError(expected=f"a run in {folder}", came="a folder without config.yaml or none", todo=todo)
