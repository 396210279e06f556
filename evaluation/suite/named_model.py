"""Which target model a folder was made for, as the folder names it; nothing is loaded."""

from __future__ import annotations

from pathlib import Path

from evaluation.config.suite import SuiteConfig
from evaluation.records.run_folder import RunFolder
from ravel.common.io import read_json
from ravel.instance import Manifest

__all__ = ["model_named_in"]


def model_named_in(folder: Path) -> str:
    """Return the target model that a run or an instance names: a hub id, a folder or `bundled`.

    Raises SuiteError if the folder holds neither, or its first file is damaged.
    """
    run = RunFolder(folder)
    if run.config.is_file():
        return SuiteConfig.from_file(run.config).model
    manifest = folder / "manifest.json"
    return Manifest.from_json(read_json(manifest), origin=str(manifest)).model_name
