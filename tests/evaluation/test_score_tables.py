"""Tables: averaging by hand, best and floors marked, and golden files for every style.

To renew the golden files after a wanted change: `RENEW_GOLDEN=1 pytest
tests/evaluation/test_score_tables.py`.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from outcome_world import average_record, score_record

from evaluation.records import AverageRecord, ScoreRecord
from evaluation.tables import RENDERERS, Table, attribute_table, main_table, render, write_tables
from evaluation.tables.latex import escape
from ravel.common.errors import SuiteError

GOLDEN = Path(__file__).parent.parent / "golden"
SUFFIXES = {"markdown": "md", "latex": "tex", "csv": "csv"}
# (method, attribute) -> (cause, isolate), the same for both generalisations but for a shift of entity's
# cause.
POINTS = {
    ("mdas", "Country"): (0.75, 0.875),
    ("mdas", "Time_zone"): (0.5, 1.0),
    ("das", "Country"): (0.875, 0.125),
    ("das", "Time_zone"): (0.75, 0.125),
    ("no_op", "Country"): (0.0, 1.0),
    ("no_op", "Time_zone"): (0.0, 1.0),
    ("full_vector", "Country"): (1.0, 0.0),
    ("full_vector", "Time_zone"): (0.9375, 0.0),
    ("random_subspace", "Country"): (0.0625, 0.9375),
    ("random_subspace", "Time_zone"): (0.0, 0.9375),
}


def scores() -> list[ScoreRecord]:
    """A chosen record per method, attribute and generalisation, and decoys that no table may count."""
    records = []
    for (method, attribute), (cause, isolate) in POINTS.items():
        for generalisation, shift in (("context", 0.0), ("entity", 0.0625 if method == "mdas" else 0.0)):
            low = cause - shift
            records.append(
                score_record(
                    method=method,
                    attribute=attribute,
                    generalisation=generalisation,
                    partition="test",
                    cause=low,
                    isolate=isolate,
                    disentangle=(low + isolate) / 2,
                    isolate_interval=None,
                    disentangle_interval=None,
                    cause_interval=(max(0.0, low - 0.0625), min(1.0, low + 0.0625)),
                    size={"no_op": 0, "full_vector": 128}.get(method, 16 if attribute == "Country" else 8),
                    chosen=True,
                    n_cause=10 if attribute == "Country" else 12,
                )
            )
    not_chosen = score_record(partition="test", cause=1.0, isolate=1.0)
    return [*records, not_chosen, score_record(partition="val", chosen=True)]


def averages() -> list[AverageRecord]:
    """Macro records with intervals for mdas, das and no_op."""
    return [
        average_record(
            method=method,
            cause=c,
            isolate=i,
            disentangle=(c + i) / 2,
            cause_interval=(max(c - 0.0625, 0.0), c + 0.03125),
            isolate_interval=(i - 0.0625, min(i + 0.03125, 1.0)),
            disentangle_interval=((c + i) / 2 - 0.03125, (c + i) / 2 + 0.03125),
        )
        for method, c, i in (("mdas", 0.75, 0.875), ("das", 0.8125, 0.125), ("no_op", 0.0, 1.0))
    ]


def value(table: Table, label: str, group: str, name: str, block: str = "") -> float | None:
    """The number in a row and a column."""
    at = [(column.group, column.name) for column in table.columns].index((group, name))
    return next(row for row in table.rows if (row.block, row.label) == (block, label)).cells[at].value


def test_the_main_table_averages_attributes_without_rounding() -> None:
    table = main_table(scores())
    assert value(table, "mdas", "context", "cause") == 0.625
    assert value(table, "mdas", "context", "isolate") == 0.9375
    assert value(table, "mdas", "entity", "cause") == 0.5625
    assert value(table, "full_vector", "context", "cause") == 0.96875
    assert value(table, "no_op", "entity", "disentangle") == 0.5
    assert [row.label for row in table.rows] == ["das", "mdas", "no_op", "full_vector", "random_subspace"]


def test_seeds_are_averaged_before_attributes() -> None:
    two = [score_record(partition="test", chosen=True, seed=s, cause=c) for s, c in ((0, 0.5), (1, 1.0))]
    other = score_record(partition="test", chosen=True, attribute="Language", cause=0.25)
    table = main_table([*two, other])
    assert value(table, "mdas", "context", "cause") == 0.5
    assert "Seeds: 0, 1." in table.notes[1] + table.notes[2] + table.notes[3]


def test_best_is_marked_among_methods_and_never_on_a_floor() -> None:
    table = main_table(scores())
    best = {
        (row.label, column.group, column.name)
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
        if cell.best
    }
    assert best == {
        (method, g, score)
        for g in ("context", "entity")
        for method, score in (("das", "cause"), ("mdas", "isolate"), ("mdas", "disentangle"))
    }
    lone = main_table([r for r in scores() if r.method != "das"])
    assert not any(cell.best for row in lone.rows for cell in row.cells)


def test_worse_than_doing_nothing_is_marked_and_equal_is_not() -> None:
    table = attribute_table(scores())
    below = {(row.block, row.label) for row in table.rows if any(cell.below_no_op for cell in row.cells)}
    assert below == {
        ("Time_zone", "das"),
        ("Time_zone", "full_vector"),
        ("Time_zone", "random_subspace"),
    }
    assert any(note.startswith("†") for note in table.notes)


def test_without_outcomes_the_main_table_has_no_intervals_and_says_so() -> None:
    table = main_table(scores())
    assert all(cell.interval is None for row in table.rows for cell in row.cells)
    assert any("No intervals" in note for note in table.notes)
    with_intervals = main_table(scores(), averages())
    assert [row.cells[0].interval for row in with_intervals.rows][1] == (0.6875, 0.78125)
    assert not any("No intervals" in note for note in with_intervals.notes)


def test_a_lone_seed_keeps_its_interval_in_the_attribute_table() -> None:
    table = attribute_table(scores())
    row = next(row for row in table.rows if (row.block, row.label) == ("Country", "mdas"))
    assert row.cells[0].interval == (0.6875, 0.8125)


def test_an_attribute_that_does_not_count_is_told() -> None:
    empty = score_record(
        partition="test",
        chosen=True,
        method="das",
        attribute="Language",
        isolate=None,
        disentangle=None,
        n_isolate=0,
    )
    full = [
        score_record(partition="test", chosen=True, method=m, attribute="Country") for m in ("das", "mdas")
    ]
    other = score_record(partition="test", chosen=True, method="mdas", attribute="Language")
    table = main_table([empty, *full, other])
    assert "Mean over Country only: das (context)." in table.notes
    assert value(attribute_table([empty]), "das", "context", "isolate", "Language") is None
    assert "–" in render(attribute_table([empty]), "markdown")


def test_nothing_chosen_and_mixed_records_are_refused() -> None:
    with pytest.raises(SuiteError, match="none of which is chosen"):
        main_table([score_record()])
    mixed = [score_record(partition="test", chosen=True, model=m) for m in ("one", "two")]
    with pytest.raises(SuiteError, match="city with one; city with two"):
        main_table(mixed)
    with pytest.raises(SuiteError, match="did you mean 'markdown'"):
        render(main_table(scores()), "markdwn")


def test_csv_keeps_every_digit() -> None:
    third = score_record(partition="test", chosen=True, cause=1 / 3)
    rows = list(csv.DictReader(io.StringIO(render(main_table([third]), "csv"))))
    assert float(rows[0]["value"]) == 1 / 3
    assert (rows[0]["generalisation"], rows[0]["score"], rows[0]["n"]) == ("context", "cause", "10")


def test_latex_is_balanced_and_escaped() -> None:
    text = render(attribute_table(scores()), "latex")
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    assert text.count("{") - text.count("}") == 0
    body = re.search(r"\\midrule(.*)\\bottomrule", text, re.DOTALL)
    assert body is not None
    rows = [line for line in body[1].splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in rows} == {2 + 6 - 1}
    assert r"Time\_zone" in text
    assert not re.search(r"(?<!\\)_", text.replace("tab:", ""))


def test_latex_escapes_every_special_character() -> None:
    assert escape("a_b & 5% of #1 {x} ~ ^ $ \\") == (
        r"a\_b \& 5\% of \#1 \{x\} \textasciitilde{} \textasciicircum{} \$ \textbackslash{}"
    )


@pytest.mark.parametrize("style", sorted(RENDERERS))
@pytest.mark.parametrize("name", ["main", "attributes", "main_with_intervals"])
def test_golden_files(style: str, name: str) -> None:
    tables = {
        "main": main_table(scores()),
        "attributes": attribute_table(scores()),
        "main_with_intervals": main_table(scores(), averages()),
    }
    path = GOLDEN / f"table_{name}.{SUFFIXES[style]}"
    text = render(tables[name], style)
    if os.environ.get("RENEW_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


def test_all_files_are_written(tmp_path: Path) -> None:
    paths: Sequence[Path] = write_tables(scores(), None, tmp_path / "tables")
    assert sorted(path.name for path in paths) == sorted(p.name for p in (tmp_path / "tables").iterdir())
    assert len(paths) == 6
