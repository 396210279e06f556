"""A finished run for a notebook: its records as pandas frames, its main table and its figures; nothing is
computed here and nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.config.suite import SuiteConfig
from evaluation.records.headers import cost_in
from evaluation.records.measured import Measured, MeasuredRecord
from evaluation.records.run_records import RunRecords
from evaluation.records.scores import (
    AverageRecord,
    ComparisonRecord,
    JudgedCase,
    Outcome,
    ScoreRecord,
)
from evaluation.report.tables import render
from evaluation.report.tables.of_runs import table_of_runs
from evaluation.tracks import TRACKS
from ravel.common.errors import unknown_name
from ravel.common.io import read_text
from ravel.instance import ALL_SPLITS

if TYPE_CHECKING:
    import pandas as pd


_INTERVAL = "_interval"
_POINT = ("cell", "method", "attribute", "site", "swapped", "seed")
"""What the header of a cell says of it, in the order of the first columns below."""

_POINT_COLUMNS = ["dim" if name == "swapped" else name for name in _POINT]
_COST_COLUMNS = [*_POINT_COLUMNS, "forward", "back", "passes"]


def outcome_columns(kind: type[JudgedCase] = Outcome) -> list[str]:
    """Return the columns of `Run.outcomes` for a track's kind of outcomes: the cell's, with its target
    `attribute` (`*` if it serves all), then the outcome's, with the attribute that its base template `asked`
    for."""
    own = (field.name for field in fields(kind))  # type: ignore[arg-type]  # every kind is a dataclass
    return [*_POINT_COLUMNS, "split", *("asked" if name == "attribute" else name for name in own)]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure in a file, which a notebook shows."""

    path: Path
    """An SVG file; the same lies beside it as PNG."""

    def _repr_svg_(self) -> str:
        """Return what a notebook shows."""
        return read_text(self.path)


class Run:
    """A finished run, read from its folder; each file is read when it is first asked for."""

    def __init__(self, records: RunRecords) -> None:
        self._records = records

    @classmethod
    def open(cls, folder: Path | str) -> Run:
        """Open the folder of a finished run. Raises SuiteError unless there is one."""
        return cls(RunRecords.open(Path(folder)))

    @property
    def folder(self) -> Path:
        """Where the run lies."""
        return self._records.folder.path

    @property
    def config(self) -> SuiteConfig:
        """The resolved suite. Raises SuiteError if its file is damaged."""
        return SuiteConfig.from_file(self._records.folder.config)

    def scores(self) -> pd.DataFrame:
        """Return `scores.jsonl`: a row per cell, target attribute, split and kind of source, with the columns
        of `ScoreRecord`.

        Here and in the other frames an interval is two columns, as `cause_low` and `cause_high`. Raises
        SuiteError for a damaged file.
        """
        return self._frame(ScoreRecord, self._records.scores)

    def averages(self) -> pd.DataFrame:
        """Return `averages.jsonl`: chosen points averaged over seeds, per attribute and over all of them.

        Its columns are those of `AverageRecord`; a run without the file has no row. Raises SuiteError for a
        damaged file.
        """
        return self._frame(AverageRecord, self._records.averages or ())

    def comparisons(self) -> pd.DataFrame:
        """Return `comparisons.jsonl`: paired differences between methods.

        Its columns are those of `ComparisonRecord`; a run without the file has no row. Raises SuiteError for
        a damaged file.
        """
        return self._frame(ComparisonRecord, self._records.comparisons)

    def costs(self) -> pd.DataFrame:
        """Return what fits cost, a row per finished cell: what is in its header, `forward` pairs and prompts
        that the model was asked to read and of how many it was to go `back`, and the `passes` that this comes
        to with what it shares with other cells; empty where a run of an earlier version does not say."""
        import pandas as pd

        rows = []
        for header in self._records.folder.finished_cells():
            cost = cost_in(header)
            counts = (None,) * 3 if cost is None else (cost.own.forward, cost.own.back, cost.passes)
            rows.append((*(header.get(name) for name in _POINT), *counts))
        return pd.DataFrame(rows, columns=_COST_COLUMNS)

    def outcomes(self, split: str | None = None) -> pd.DataFrame:
        """Return what was judged, a row per cell and case, of one split or of all.

        The columns are `outcome_columns` of the track's outcomes. A cell is judged on the test splits only
        where it was chosen; cells of controls are not among these. Raises SuiteError for an unknown split and
        a damaged file.
        """
        import pandas as pd

        if split is not None and split not in ALL_SPLITS:
            raise unknown_name("split", split, ALL_SPLITS)
        kind = TRACKS.get(self._records.track).outcome
        return pd.DataFrame(list(self._outcome_rows(split, kind)), columns=outcome_columns(kind))

    def _outcome_rows(self, wanted: str | None, kind: type[JudgedCase]) -> Iterator[tuple[Any, ...]]:
        names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # every kind is a dataclass
        for header in self._records.folder.finished_cells():
            point = tuple(header.get(name) for name in _POINT)
            for split in ALL_SPLITS if wanted is None else (wanted,):
                for outcome in self._records.outcomes(header["cell"], split, kind) or ():
                    values = (getattr(outcome, name) for name in names)
                    yield (*point, split, *values)

    def _frame(self, kind: type[MeasuredRecord], rows: Sequence[MeasuredRecord]) -> pd.DataFrame:
        first, track = self._records.scores[0], TRACKS.get(self._records.track)
        counted = first.measures if kind.COUNTED else {n: Measured(None) for n in first.measures}
        blank: dict[str, Any] = {field.name: None for field in fields(kind)}  # type: ignore[arg-type]
        blank |= {"measures": counted, "track": track.name, "metric": first.metric}
        if "tested" in blank:
            blank["tested"] = track.criterion
        return _frame(rows, kind(**blank))

    def figure(self, name: str) -> Figure:
        """Return a figure of the run's `plots/` by its name, such as `cause_isolate`; a notebook shows it.
        Raises SuiteError, which lists the names, for one that is not there."""
        path = self._records.folder.plots / f"{name}.svg"
        if not path.is_file():
            known = sorted(p.stem for p in path.parent.glob("*.svg"))
            raise unknown_name(f"figure in {path.parent}", name, known)
        return Figure(path)

    def _repr_html_(self) -> str:
        """Return the main table, as a notebook shows it."""
        return render(table_of_runs([self.folder]), "html")


def load_run(folder: Path | str) -> Run:
    """Return the finished run in a folder, for a notebook. Raises SuiteError unless there is one."""
    return Run.open(folder)


def _frame(rows: Sequence[MeasuredRecord], blank: MeasuredRecord) -> pd.DataFrame:
    """Return a row per record; where there is none, the columns are those of `blank`."""
    import pandas as pd

    columns = [column for name in (rows or [blank])[0].to_json() for column in _columns(name)]
    return pd.DataFrame([_values(row) for row in rows], columns=columns)


def _columns(name: str) -> tuple[str, ...]:
    if not name.endswith(_INTERVAL):
        return (name,)
    score = name.removesuffix(_INTERVAL)
    return (f"{score}_low", f"{score}_high")


def _values(row: MeasuredRecord) -> list[Any]:
    values: list[Any] = []
    for name, value in row.to_json().items():
        values += (value or (None, None)) if name.endswith(_INTERVAL) else (value,)
    return values
