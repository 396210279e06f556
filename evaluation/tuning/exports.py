"""What was learned, in the files of pyreft and PEFT; only the folder's name is decided here."""

from __future__ import annotations

from pathlib import Path

from das.interop.peft_folders import read_peft, write_peft
from das.interop.pyreft_folders import read_pyreft, write_pyreft
from das.models.base import TargetModel
from das.reft.storage import HEADER, load_tuned
from das.reft.tuned import Tuned, TunedProjections, TunedStates
from ravel.common.errors import SuiteError

_PYREFT, _PEFT = "pyreft", "peft"
_PEFT_CONFIG = "adapter_config.json"


def export_tuned(tuned: Tuned, model: TargetModel, folder: Path) -> str:
    """Write what was learned for its own tool into a folder inside this one; return the folder's name."""
    if isinstance(tuned, TunedProjections):
        write_peft(tuned, folder / _PEFT, model)
        return _PEFT
    assert isinstance(tuned, TunedStates)
    write_pyreft(tuned, folder / _PYREFT)
    return _PYREFT


def open_tuned(folder: Path, positions: str | None = None) -> Tuned:
    """Read what was learned from a folder of `ravel reft`, of PEFT or of pyreft; for the last `positions` may
    be given, which its own files do not say. Raises SuiteError for a folder that is none of these, or
    damaged."""
    if (folder / HEADER).is_file():
        return load_tuned(folder)[0]
    if (folder / _PEFT_CONFIG).is_file():
        return read_peft(folder)
    if (folder / "config.json").is_file():
        return read_pyreft(folder, positions)
    raise SuiteError(
        expected=f"a folder of ravel reft, of PEFT or of pyreft at {folder}",
        came="none of their files" if folder.is_dir() else "no folder",
        todo="name the folder that holds reft.json, adapter_config.json or config.json",
    )
