"""The folder of a run: where each file lies, when it may be continued; no fitting, no scores.

`layout.py` lists the files.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from evaluation.records.headers import read_cell_header, read_environment
from evaluation.records.lock import LOCK_FILE
from evaluation.records.scores import JudgedCase
from ravel.asking.kept_answers import kept_folder
from ravel.common.config import Config
from ravel.common.durable import remove_parts
from ravel.common.errors import SuiteError
from ravel.common.io import (
    canonical_json,
    make_folder,
    read_text,
    remove_file,
    remove_folder,
    sync_file,
    write_json,
    write_jsonl,
    write_text,
)

Case = TypeVar("Case", bound=JudgedCase)


@dataclass(frozen=True, slots=True)
class CellFolder:
    """The folder of one cell."""

    path: Path
    """`cells/<id>`."""

    @property
    def header(self) -> Path:
        """`cell.json`: what the cell is; written last, so it stands exactly if the cell is finished."""
        return self.path / "cell.json"

    @property
    def train_log(self) -> Path:
        """Rows of the fit."""
        return self.path / "train_log.jsonl"

    @property
    def checkpoint(self) -> Path:
        """Checkpoints of an unfinished fit."""
        return self.path / "checkpoint"

    def outcomes(self, split: str) -> Path:
        """Where the outcomes of a split lie."""
        return self.path / "outcomes" / f"{split}.jsonl"

    def finished(self) -> bool:
        """Tell whether the cell needs no more fitting."""
        return self.header.is_file()

    def finish(self, header: Mapping[str, Any]) -> None:
        """Write `cell.json` and drop the checkpoint."""
        if self.train_log.is_file():
            sync_file(self.train_log)
        write_json(self.header, dict(header))
        remove_folder(self.checkpoint)

    def write_outcomes(self, split: str, outcomes: Sequence[JudgedCase]) -> None:
        """Write the outcomes of a split, wholly or not at all."""
        write_jsonl(self.outcomes(split), (outcome.to_json() for outcome in outcomes))

    def judged(self, split: str, expected: int, kind: type[JudgedCase]) -> bool:
        """Tell whether the outcomes of a split are there, as many as expected and each of them readable."""
        try:
            return self.outcomes(split).is_file() and len(kind.read(self.outcomes(split))) == expected
        except SuiteError:
            return False

    def read_outcomes(self, split: str, expected: int, kind: type[Case]) -> list[Case]:
        """Read the outcomes of a split, of a track's kind. Raises SuiteError unless there are as many as
        expected."""
        found = kind.read(self.outcomes(split))
        if len(found) != expected:
            raise SuiteError(
                expected=f"{expected} outcomes in {self.outcomes(split)}, one per {kind.WORD}",
                came=f"{len(found)}",
                todo="remove that file and run the suite again; only the missing parts are done",
            )
        return found


class RunFolder:
    """The folder of a run, opened for one config."""

    def __init__(self, path: Path) -> None:
        self.path = path
        """The run's root."""
        self.config = path / "config.yaml"
        """The resolved suite."""
        self.environment = path / "environment.json"
        """Fingerprints and environments."""
        self.instance = path / "instance"
        """A copy of the instance."""
        self.scores = path / "scores.jsonl"
        """Score records."""
        self.averages = path / "averages.jsonl"
        """Average records."""
        self.comparisons = path / "comparisons.jsonl"
        """Comparison records."""
        self.refusals = path / "refusals.jsonl"
        """Refusal records."""
        self.page = path / "report.html"
        """The page of a finished run."""
        self.shared = path / "shared"
        """Folder of what several fits share."""
        self.tables = path / "tables"
        """Folder of rendered tables."""
        self.plots = path / "plots"
        """Folder of plots."""

    def cell(self, cell_id: str) -> CellFolder:
        """Return the folder of a cell, which need not exist."""
        return CellFolder(self.path / "cells" / cell_id)

    def require(self, todo: str) -> None:
        """Raise SuiteError, which says what to do, unless a run was begun in the folder."""
        if not self.config.is_file():
            raise SuiteError(
                expected=f"a run in {self.path}", came="a folder without config.yaml or none", todo=todo
            )

    def finished_cells(self, known: Container[str] = ()) -> list[dict[str, Any]]:
        """Return the header of every finished cell that is not `known`, by id; a header that can't be read is
        left out."""
        found = []
        for header in sorted(self.path.glob("cells/*/cell.json")):
            if header.parent.name in known:
                continue
            try:
                found.append(read_cell_header(header))
            except SuiteError:
                continue
        return found

    def open(
        self,
        config: Config,
        *,
        fingerprints: Mapping[str, str],
        growing: Sequence[str],
        free: Sequence[str] = (),
    ) -> None:
        """Claim the folder for this config, or continue in it.

        A folder may be continued with an equal config, or with one that adds entries to the lists named in
        `growing` and so only adds cells; settings named in `free` may differ. Raises SuiteError, before
        anything is written, if the folder holds other files, another instance or model, or a config that
        differs in any other way; the difference is named.
        """
        self.refuse_foreign_files()
        if self.config.is_file():
            earlier, now = type(config).from_file(self.config), config
            compared = [c.model_dump(mode="json", exclude=set(free)) for c in (earlier, now)]
            self._refuse_change(compared[0], compared[1], growing)
        self._refuse_other_fingerprints(fingerprints)
        make_folder(self.path)
        self.remove_leftovers()
        text = config.to_yaml()
        if self.config.is_file() and read_text(self.config) != text:
            # Results of the smaller grid must not pass for those of the larger one.
            remove_file(self.scores)
        write_text(self.config, text)

    def remove_leftovers(self) -> None:
        """Remove what killed processes left unfinished, and checkpoints of cells that are finished."""
        remove_parts(self.path)
        for pattern in ("cells/*/checkpoint", "controls/*/cells/*/checkpoint"):
            for checkpoint in self.path.glob(pattern):
                if CellFolder(checkpoint.parent).finished():
                    remove_folder(checkpoint)

    def record_environment(self, fingerprints: Mapping[str, str], environment: Mapping[str, Any]) -> None:
        """Write fingerprints and, unless it is known already, this environment."""
        known = read_environment(self.environment)["environments"] if self.environment.is_file() else []
        environments = known if dict(environment) in known else [*known, dict(environment)]
        write_json(self.environment, {**fingerprints, "environments": environments})

    def refuse_foreign_files(self) -> None:
        """Raise SuiteError unless the folder is new, empty or a run's."""
        if not self.path.exists() or self.config.is_file():
            return
        # An instance alone, or the answers for one, is a run that was stopped after its build or in it.
        own = (LOCK_FILE, self.instance.name, kept_folder(self.instance).name)
        if not self.path.is_dir() or any(
            p.name not in own and not p.name.endswith(".part") for p in self.path.iterdir()
        ):
            raise SuiteError(
                expected=f"a new folder, an empty one or an earlier run at {self.path}",
                came="a file or a folder without a run's config.yaml",
                todo="choose another --out",
            )

    def _refuse_change(self, earlier: dict[str, Any], now: dict[str, Any], growing: Sequence[str]) -> None:
        differences = [
            _difference(key, earlier.get(key), now.get(key), growing) for key in sorted(earlier | now)
        ]
        named = [difference for difference in differences if difference]
        if named:
            raise SuiteError(
                expected=f"the config of the run in {self.path}, or one that only adds to it",
                came="; ".join(named),
                todo="choose another --out for this suite, or restore those settings",
            )

    def _refuse_other_fingerprints(self, fingerprints: Mapping[str, str]) -> None:
        if not self.environment.is_file():
            return
        earlier = read_environment(self.environment)
        for name, value in fingerprints.items():
            if earlier.get(name) != value:
                raise SuiteError(
                    expected=f"the {name.replace('_', ' ')} of the run in {self.path}, {earlier.get(name)}",
                    came=value,
                    todo="choose another --out, or run with the instance and model this run began with",
                )


def _difference(key: str, earlier: Any, now: Any, growing: Sequence[str]) -> str | None:
    if earlier == now:
        return None
    if key in growing and isinstance(earlier, list) and isinstance(now, list):
        lost = [_lost(entry, now) for entry in earlier if entry not in now]
        return f"{key} {', '.join(lost)}" if lost else None
    return f"{key} {_short(now)} where the run has {_short(earlier)}"


def _lost(entry: Any, now: list[Any]) -> str:
    """Say that an entry is gone or, for a method that is still there, which of its settings changed."""
    if not isinstance(entry, dict):
        return f"without {_short(entry)}"
    for other in now:
        if other["name"] == entry["name"]:
            old, new = ({**e["config"], "sizes": e.get("sizes")} for e in (entry, other))
            changed = [_difference(k, old.get(k), new.get(k), ()) for k in sorted(old | new)]
            return f"with {entry['name']} changed ({'; '.join(c for c in changed if c)})"
    return f"without {entry['name']}"


def _short(value: Any) -> str:
    text = canonical_json(value)
    return text if len(text) <= 120 else text[:117] + "..."
