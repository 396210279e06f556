"""Tables: averaging by hand, best and floors marked, and golden files for every style.

To renew the golden files after a wanted change: `RENEW_GOLDEN=1 pytest
tests/evaluation/report/test_score_tables.py`.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from outcome_world import TRACK, average_record, changed, score_record

from evaluation.records.breakdowns import ALL_OTHERS, BREAKDOWN_SCHEMA_VERSION, BreakdownRecord, Part
from evaluation.records.measured import Measured
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import (
    SCORE_SCHEMA_VERSION,
    AverageRecord,
    ComparisonRecord,
    Refusal,
    ScoreRecord,
)
from evaluation.report.publish import publish_tables
from evaluation.report.tables import (
    RENDERERS,
    ModelScores,
    Table,
    attribute_table,
    balanced_table,
    dependence_table,
    kind_table,
    main_table,
    model_table,
    render,
    seed_table,
    to_latex,
    type_table,
)
from evaluation.report.tables.latex import display_name, escape
from evaluation.report.tables.latex_compact import to_compact_latex
from evaluation.report.tables.long_form import HEADER
from evaluation.report.tables.means import averages_without_outcomes, has_seeds
from evaluation.report.tables.model import TableCell
from evaluation.report.tables.notes import refusal_notes, sites_text
from ravel.common.errors import SuiteError
from ravel.common.io import write_jsonl

GOLDEN = Path(__file__).parents[2] / "golden"
SUFFIXES = {"markdown": "md", "latex": "tex", "csv": "csv", "html": "html"}
ODD = r"a_b & 5% of #1 {x} ~ ^ $ \\ <i> | *`[z]"
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


def comparisons() -> list[ComparisonRecord]:
    """mdas differs from all; das does not differ from no_op."""
    p_values = {
        ("das", "mdas"): 0.01,
        ("das", "no_op"): 0.4,
        ("mdas", "no_op"): 0.002,
        ("full_vector", "mdas"): 0.06,
        ("no_op", "random_subspace"): 0.049,
    }
    return [comparison(*pair, p) for pair, p in p_values.items()]


def comparison(first: str, second: str, p: float, **changes: object) -> ComparisonRecord:
    """A comparison with an adjusted p-value, of the context test split."""
    record = ComparisonRecord(
        schema_version=SCORE_SCHEMA_VERSION,
        first=first,
        second=second,
        entity_type="city",
        model="bundled",
        attributes=("Country", "Time_zone"),
        generalisation="context",
        partition="test",
        measures={name: Measured(0.0) for name in TRACK.names},
        p=p / 2,
        p_adjusted=p,
    )
    return changed(record, **changes)


def refusals() -> list[Refusal]:
    """What `lda` has no answer for."""
    reason = "expected classes with two examples each; came none. Use another method"
    return [Refusal("lda", "Time_zone", reason), Refusal("probe", "Time_zone", reason)]


def with_lda() -> list[ScoreRecord]:
    """The scores, and those of a method that was refused for one attribute and excels at the other."""
    more = [
        score_record(
            method="lda",
            partition="test",
            chosen=True,
            generalisation=g,
            cause=1.0,
            isolate=1.0,
            disentangle=1.0,
        )
        for g in ("context", "entity")
    ]
    return [*scores(), *more]


def by_kind() -> list[ScoreRecord]:
    """Records of two source kinds beside those of all pairs."""
    kinds = [
        changed(
            record,
            source_kind=kind,
            cause=cause,
            disentangle=(cause + (record.value("isolate") or 0)) / 2,
            n_cause=n,
        )
        for record in scores()
        if record.chosen and record.partition == "test"
        for kind, cause, n in (("attribute_free", 0.25, 4), ("same_attribute", 0.5, 6))
    ]
    return [*scores(), *kinds]


def of_two_types() -> list[ScoreRecord]:
    """Records of cities and of people; `das` was not run on people."""
    people = [
        changed(record, entity_type="person", disentangle=0.75)
        for record in scores()
        if record.method != "das"
    ]
    return [*scores(), *people]


def balanced() -> list[AverageRecord]:
    """Averages in which every cause is a sixteenth lower."""
    chosen = [r for r in scores() if r.chosen and r.partition == "test"]

    def lower(record: AverageRecord) -> AverageRecord:
        cause, both = record.value("cause") or 0.0, record.value("disentangle") or 0.0
        return changed(record, cause=max(0.0, cause - 0.0625), disentangle=both - 0.03125)

    return [lower(record) for record in averages_without_outcomes(chosen, TRACK.criterion)]


def breakdowns() -> list[BreakdownRecord]:
    """Isolate of two methods for Country: kept where the continent stays; no pair where the country does."""
    return [
        breakdown(method, by, part, value)
        for method, changed in (("mdas", 0.75), ("no_op", 1.0))
        for by, part, value in (
            ("Country", "same", None),
            ("Country", "changes", changed),
            ("Continent", "same", 1.0),
            ("Continent", "changes", changed - 0.125),
        )
    ]


def breakdown(
    method: str, by: str, part: Part, isolate: float | None, asked: str = ALL_OTHERS
) -> BreakdownRecord:
    """A record of the context test split."""
    return BreakdownRecord(
        schema_version=BREAKDOWN_SCHEMA_VERSION,
        method=method,
        entity_type="city",
        model="bundled",
        attribute="Country",
        seeds=(0,),
        generalisation="context",
        partition="test",
        asked=asked,
        by=by,
        part=part,
        isolate=isolate,
        isolate_interval=None if isolate is None else (isolate - 0.25, isolate),
        n=0 if isolate is None else 24,
        of=48,
        reason="Country changes between base and source in 48 of 48 pairs" if isolate is None else None,
    )


def cell(table: Table, label: str, group: str, name: str, block: str = "") -> TableCell:
    """The cell in a row and a column."""
    at = [(column.group, column.name) for column in table.columns].index((group, name))
    return next(row for row in table.rows if (row.block, row.label) == (block, label)).cells[at]


def value(table: Table, label: str, group: str, name: str, block: str = "") -> float | None:
    """The number in a row and a column."""
    return cell(table, label, group, name, block).value


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


def test_rows_say_whether_they_differ_from_the_best_and_from_no_op() -> None:
    table = main_table(scores(), comparisons=comparisons())
    relations = {
        row.label: (row.cells[2].vs_best, row.cells[2].vs_no_op) for row in table.rows if row.cells[2].vs_best
    }
    said = {
        label: (best and (best.relation, best.p), no_op and (no_op.relation, no_op.p))
        for label, (best, no_op) in relations.items()
    }
    assert said == {
        "mdas": (("best", None), ("differs", 0.002)),
        "das": (("differs", 0.01), ("tied", 0.4)),
        "no_op": (("differs", 0.002), None),
        "full_vector": (("tied", 0.06), None),
    }
    assert cell(table, "random_subspace", "context", "disentangle").marks == "†‡"
    assert cell(table, "full_vector", "context", "disentangle").marks == "†="
    assert all(row.cells[i].vs_best is None for row in table.rows for i in (0, 1, 3, 4))
    assert cell(table, "mdas", "entity", "disentangle").vs_no_op is None
    assert any("(Holm)" in note for note in table.notes)


def test_without_adjusted_p_values_nothing_is_marked() -> None:
    untested = [replace(record, p_adjusted=None) for record in comparisons()]
    validation = [replace(record, partition="val") for record in comparisons()]
    for other in (untested, validation):
        table = main_table(scores(), comparisons=other)
        assert not {c.marks for row in table.rows for c in row.cells} & {"=", "‡"}
        assert all(row.cells[2].vs_no_op is None for row in table.rows)


def test_a_mean_over_fewer_attributes_is_marked_and_never_best() -> None:
    table = main_table(with_lda(), refusals=refusals())
    assert cell(table, "lda", "context", "cause").value == 1.0
    assert cell(table, "lda", "context", "cause").fewer
    assert not any(c.best for row in table.rows if row.label == "lda" for c in row.cells)
    assert cell(table, "das", "context", "cause").best
    assert not cell(table, "das", "context", "cause").fewer
    assert value(table, "probe", "context", "cause") is None
    assert any(note.startswith("Mean over Country only: lda (context), lda (entity)") for note in table.notes)
    assert any(note.startswith("§: a mean over fewer") for note in table.notes)
    assert any(
        note.startswith("No answer by lda, probe for Time_zone: expected classes") for note in table.notes
    )


def test_a_refused_attribute_is_an_empty_row() -> None:
    table = attribute_table(with_lda(), refusals=refusals())
    assert value(table, "lda", "context", "cause", "Time_zone") is None
    assert value(table, "lda", "context", "cause", "Country") == 1.0
    assert cell(table, "lda", "context", "cause", "Country").best
    assert not any(cell.fewer for row in table.rows for cell in row.cells)


def test_reasons_that_are_alike_share_a_note() -> None:
    reason = "expected labels;\ncame none."
    found = [Refusal(m, a, reason) for m in ("lda", "inlp") for a in ("Latitude", "Longitude")]
    assert refusal_notes([*found, Refusal("pca", "Latitude", "no")]) == [
        "No answer by inlp, lda for Latitude, Longitude: expected labels; came none.",
        "No answer by pca for Latitude: no.",
    ]


def test_kinds_have_a_block_each_and_stay_out_of_the_other_tables() -> None:
    assert main_table(by_kind()) == main_table(scores())
    assert attribute_table(by_kind()) == attribute_table(scores())
    table = kind_table(by_kind())
    assert list(dict.fromkeys(row.block for row in table.rows)) == ["same_attribute", "attribute_free"]
    assert value(table, "mdas", "entity", "cause", "same_attribute") == 0.5
    assert value(table, "mdas", "context", "cause", "attribute_free") == 0.25
    assert cell(table, "mdas", "context", "cause", "attribute_free").n == 8
    with pytest.raises(SuiteError, match="none of which is of one kind"):
        kind_table(scores())


def test_averages_without_kinds_leave_the_kinds_to_the_scores() -> None:
    assert value(kind_table(by_kind(), averages()), "mdas", "context", "cause", "same_attribute") == 0.5


def test_types_are_columns_with_their_mean_last() -> None:
    table = type_table(of_two_types())
    assert [(c.group, c.name) for c in table.columns] == [
        (g, name) for g in ("context", "entity") for name in ("city", "person", "mean")
    ]
    assert value(table, "mdas", "context", "city") == 0.78125
    assert value(table, "mdas", "context", "mean") == (0.78125 + 0.75) / 2
    assert cell(table, "mdas", "context", "mean").best
    lacking = cell(table, "das", "context", "mean")
    assert (lacking.value, lacking.fewer, lacking.best) == (0.46875, True, False)
    assert value(table, "das", "context", "person") is None
    other_model = [replace(r, model="two") for r in scores()]
    with pytest.raises(SuiteError, match="bundled; two"):
        type_table([*of_two_types(), *(replace(r, entity_type="verb") for r in other_model)])


def test_every_floor_is_known_by_its_name_alone() -> None:
    records = [score_record(method=m, partition="test", chosen=True) for m in ("das", *TRACK.floors)]
    table = main_table(records)
    assert [row.label for row in table.rows if row.floor] == list(TRACK.floors)
    assert [row.label for row in table.rows][-len(TRACK.floors) :] == list(TRACK.floors)


def test_sites_that_differ_in_layer_are_said_once() -> None:
    sites = ["block_output.10@entity_last", "block_output.2@entity_last", "mlp_output.1@entity_last", "odd"]
    assert sites_text(sites) == "block_output.2,10@entity_last, mlp_output.1@entity_last, odd"


def test_csv_keeps_every_digit() -> None:
    third = score_record(partition="test", chosen=True, cause=1 / 3)
    rows = list(csv.DictReader(io.StringIO(render(main_table([third]), "csv"))))
    assert float(rows[0]["value"]) == 1 / 3
    assert (rows[0]["generalisation"], rows[0]["score"], rows[0]["n"]) == ("context", "cause", "10")


def test_csv_says_how_rows_compare_and_starts_no_formula() -> None:
    text = render(main_table(scores(), comparisons=comparisons()), "csv")
    rows = {(r["method"], r["generalisation"], r["score"]): r for r in csv.DictReader(io.StringIO(text))}
    das = rows["das", "context", "disentangle"]
    assert [das[name] for name in ("vs_best", "vs_best_p", "vs_no_op", "vs_no_op_p")] == [
        *("differs", "0.01"),
        *("tied", "0.4"),
    ]
    assert rows["das", "context", "cause"]["vs_best"] == ""
    formula = render(main_table([score_record(method="=1+1", partition="test", chosen=True)]), "csv")
    assert next(csv.DictReader(io.StringIO(formula)))["method"] == "'=1+1"


class _Reader(HTMLParser):
    """Notes tags, texts and attributes, and that every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read_html(table: Table) -> _Reader:
    """The table's HTML, parsed; every tag in it is closed."""
    reader = _Reader()
    reader.feed(render(table, "html"))
    reader.close()
    assert reader.open == []
    return reader


def test_html_is_accessible_and_escaped() -> None:
    records = [score_record(method=m, attribute=ODD, partition="test", chosen=True) for m in (ODD, "mdas")]
    table = attribute_table([replace(r, model=ODD) for r in records])
    reader = read_html(table)
    assert "i" not in {tag for tag, _ in reader.tags}
    assert reader.texts.count(ODD) == 4
    headers = [attributes for tag, attributes in reader.tags if tag == "th"]
    assert headers
    assert all("scope" in attributes for attributes in headers)
    assert [tag for tag, _ in reader.tags].count("caption") == 1


@pytest.mark.parametrize("name", ["main", "attributes", "kinds", "types"])
def test_every_html_row_is_as_wide_as_its_header(name: str) -> None:
    text = render(golden_tables()[name], "html")
    rows = re.findall(r"<tr>(.*?)</tr>", text)
    spans = [sum(int(n) for n in re.findall(r'colspan="(\d+)"', row)) for row in rows]
    widths = [len(re.findall(r"<t[hd]", row)) for row in rows]
    full = {width for width, row in zip(widths[2:], rows[2:], strict=True)}
    assert full == {spans[0] + widths[0] - len(re.findall("colspan", rows[0]))}


def test_markdown_keeps_odd_names_in_their_cells() -> None:
    odd = score_record(method=ODD + "\nsecond line", partition="test", chosen=True)
    lines = render(main_table([odd]), "markdown").splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows}) == 1
    assert r"\<i\>" in rows[-1]
    assert not re.search(r"(?<!\\)[*_`]", rows[-1].replace("entity_last", "").split("|")[1])


def test_latex_is_balanced_and_escaped() -> None:
    text = render(attribute_table(scores()), "latex")
    assert text.count(r"\begin{") == text.count(r"\end{") == 4
    assert text.count("{") - text.count("}") == 0
    body = re.search(r"\\midrule(.*)\\bottomrule", text, re.DOTALL)
    assert body is not None
    rows = [line for line in body[1].splitlines() if line.endswith(r"\\")]
    # A block's name spans both columns of names.
    assert {line.count("&") + line.startswith(r"\multicolumn{2}") for line in rows} == {2 + 6 - 1}
    assert r"Time\_zone" in text
    assert not re.search(r"(?<!\\)_", text.replace("tab:", ""))


def test_latex_escapes_every_special_character() -> None:
    assert escape("a_b & 5% of #1 {x} ~ ^ $ \\") == (
        r"a\_b \& 5\% of \#1 \{x\} \textasciitilde{} \textasciicircum{} \$ \textbackslash{}"
    )


def test_long_tables_in_latex_break_over_pages() -> None:
    many = [score_record(method=f"m{i}", partition="test", chosen=True) for i in range(60)]
    text = render(main_table(many), "latex")
    assert r"\begin{longtable}" in text
    assert r"\begin{table*}" not in text
    assert r"\begin{table*}" in render(main_table(many[:5]), "latex")


DOCUMENT = r"""\documentclass[10pt,a4paper]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[margin=2.2cm]{geometry}
\usepackage{booktabs,longtable,threeparttable}
\begin{document}
%s
\end{document}
"""


@pytest.fixture(scope="session")
def latex(tmp_path_factory: pytest.TempPathFactory) -> str:
    """pdflatex, if it is there with all that tables need; else what asks for it is skipped."""
    program, folder = shutil.which("pdflatex"), tmp_path_factory.mktemp("latex")
    (folder / "tried.tex").write_text(DOCUMENT % "tried", encoding="utf-8")
    command = [program or "false", "-interaction=nonstopmode", "-halt-on-error", "tried.tex"]
    tried = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    if program is None or tried.returncode:
        pytest.skip("NOT TESTED that LaTeX tables compile: no pdflatex that works (apt: texlive-latex-extra)")
    return program


def test_latex_compiles_and_fits_the_page(tmp_path: Path, latex: str) -> None:
    odd = [score_record(method=m, attribute="A_B & 5%", partition="test", chosen=True) for m in (ODD, "mdas")]
    third = [
        replace(record, generalisation="entity_context")
        for record in averages()
        if record.generalisation == "context"
    ]
    wide = main_table(
        scores(), [*averages(), *(replace(r, generalisation="entity") for r in averages()), *third]
    )
    many = main_table([score_record(method=f"m{i}", partition="test", chosen=True) for i in range(60)])
    tables = [*golden_tables().values(), attribute_table([replace(r, model=ODD) for r in odd]), wide, many]
    body = "\n\\clearpage\n".join(render(table, "latex") for table in tables)
    (tmp_path / "tables.tex").write_text(DOCUMENT % body, encoding="utf-8")
    command = [latex, "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    for _ in range(2):
        run = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False
        )
        assert run.returncode == 0, run.stdout[-3000:]
    assert "Overfull" not in run.stdout
    assert "Missing character" not in run.stdout


@pytest.mark.parametrize("name", ["main_with_intervals", "models", "types"])
def test_a_compact_table_has_the_criterion_alone_and_names_as_papers_write_them(name: str) -> None:
    table = golden_tables()[name]
    text = to_compact_latex(table, "my-run")
    assert rf"\label{{tab:my-run-{name.removesuffix('_with_intervals')}}}" in text
    lines = [line for line in text.splitlines() if line.startswith(("MDAS ", "No-op "))]
    kept = sum(column.score == "disentangle" for column in table.columns)
    assert {line.count(" & ") for line in lines} == {kept}
    assert len(lines) == sum(row.label in ("mdas", "no_op") for row in table.rows)
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert text.count(r"\item ") == len(table.notes)


def test_latex_compiles_in_two_columns(tmp_path: Path, latex: str) -> None:
    shown = golden_tables().items()
    styles = (to_compact_latex, to_latex)
    written = [style(table, f"{name} % of") for name, table in shown for style in styles]
    # What is longer than a page breaks over pages, and in one column only.
    body = "\n\\clearpage\n".join(text for text in written if "longtable" not in text)
    paper = DOCUMENT.replace("10pt,a4paper", "10pt,a4paper,twocolumn")
    (tmp_path / "paper.tex").write_text(paper % body, encoding="utf-8")
    run = subprocess.run(
        [latex, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert "Overfull" not in run.stdout


@pytest.mark.parametrize(
    ("method", "shown"),
    [("das", "DAS"), ("no_op", "No-op"), ("full_vector", "Full vector"), ("neurons_anova", "Neurons ANOVA")],
)
def test_methods_are_displayed_as_papers_write_them(method: str, shown: str) -> None:
    assert display_name(method) == shown


def of_another_model() -> list[ScoreRecord]:
    """The same scores with a model whose name needs care."""
    return [replace(record, model="a_b & c") for record in scores()]


def test_rows_of_a_model_are_marked_among_themselves_alone() -> None:
    differs = [replace(record, model="a_b & c") for record in comparisons()]
    averaged = [replace(record, model="a_b & c") for record in averages()]
    runs = [
        ModelScores(scores(), averages()),
        ModelScores(of_another_model(), averaged, differs),
    ]
    table = model_table(runs)
    assert list(dict.fromkeys(row.block for row in table.rows)) == ["bundled", "a_b & c"]
    marked = {row.block for row in table.rows if any(cell.vs_no_op is not None for cell in row.cells)}
    assert marked == {"a_b & c"}
    assert {row.block: row.place.model for row in table.rows} == {"bundled": "bundled", "a_b & c": "a_b & c"}
    with pytest.raises(SuiteError, match="one run per model; got several runs of bundled"):
        model_table(runs[:1] * 2)


def test_a_row_of_a_csv_says_model_site_size_and_seed_by_themselves() -> None:
    rows = list(csv.DictReader(io.StringIO(render(attribute_table(scores()), "csv"))))
    (row, *_) = [row for row in rows if row["method"] == "mdas" and row["block"] == "Country"]
    known = {name: row[name] for name in ("model", "site", "size", "seed")}
    assert known == {"model": "bundled", "site": "block_output.3@entity_last", "size": "16", "seed": "0"}


def golden_tables() -> dict[str, Table]:
    """Every table from fixed records, by the name of its golden files."""
    fewer = average_record(method="lda", attributes=("Country",), n_cause=10, disentangle_interval=None)
    return {
        "main": main_table(scores()),
        "attributes": attribute_table(with_lda(), refusals=refusals()),
        "main_with_intervals": main_table(
            with_lda(), [*averages(), fewer], comparisons=comparisons(), refusals=refusals()
        ),
        "kinds": kind_table(by_kind()),
        "types": type_table(of_two_types()),
        "models": model_table([ModelScores(scores()), ModelScores([*of_another_model()])]),
        "balanced": balanced_table(with_lda(), None, balanced(), refusals=refusals()),
        "dependence": dependence_table(scores(), breakdowns()),
    }


@pytest.mark.parametrize("style", sorted(RENDERERS))
@pytest.mark.parametrize("name", sorted(golden_tables()))
def test_golden_files(style: str, name: str) -> None:
    path = GOLDEN / f"table_{name}.{SUFFIXES[style]}"
    text = render(golden_tables()[name], style)
    if os.environ.get("RENEW_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


def test_balanced_scores_stand_beside_the_plain_ones() -> None:
    table = balanced_table(scores(), None, balanced())
    assert list(dict.fromkeys(row.block for row in table.rows)) == [
        *("mean", "mean, balanced", "Country", "Country, balanced", "Time_zone", "Time_zone, balanced"),
    ]
    assert value(table, "mdas", "context", "cause", "Country") == 0.75
    assert value(table, "mdas", "context", "cause", "Country, balanced") == 0.6875
    with pytest.raises(SuiteError, match="balanced scores to make a table of"):
        balanced_table(scores(), None, ())


def test_isolate_by_dependence_shows_all_asked_attributes_together() -> None:
    table = dependence_table(scores(), [*breakdowns(), breakdown("mdas", "Country", "same", 0.5, "Language")])
    assert list(dict.fromkeys(row.block for row in table.rows)) == ["Country: Country", "Country: Continent"]
    assert value(table, "mdas", "context", "same", "Country: Country") is None
    assert value(table, "mdas", "context", "changes", "Country: Continent") == 0.625
    assert "No pairs for Country: Country, context same: " in table.notes[-1]
    with pytest.raises(SuiteError, match="isolate by dependence to make a table of"):
        dependence_table(scores(), [breakdown("mdas", "Country", "same", 0.5, "Language")])


def test_the_spread_over_fits_stands_beside_the_interval() -> None:
    # Means over two attributes: seed 0 has (.5 + .7) / 2 = .6, seed 1 .7 and seed 2 .8; their sd is .1.
    told = {0: (0.5, 0.7), 1: (0.8, 0.6), 2: (0.9, 0.7)}
    fits = [
        score_record(method=method, attribute=a, seed=seed, cause=cause, partition="test", chosen=True)
        for method, seeds in (("mdas", (0, 1, 2)), ("no_op", (0,)))
        for seed in seeds
        for a, cause in zip(("Country", "Language"), told[seed], strict=True)
    ]
    mean = average_record(seeds=(0, 1, 2), cause=0.7, cause_interval=(0.65, 0.75))
    table = seed_table(fits, [mean], TRACK)
    assert [(row.block, row.label) for row in table.rows] == [(n, "mdas") for n in TRACK.names]
    cells = table.rows[0].cells
    assert [c.value for c in cells] == pytest.approx([0.7, 0.1, 0.6, 0.8])
    assert [c.interval for c in cells] == [(0.65, 0.75), None, None, None]
    assert "no part of the interval" in table.notes[1]
    assert any(
        "not over fits (the table of seeds has their spread)" in note
        for note in main_table(fits, [mean]).notes
    )
    # A seed of which one attribute failed is no fit to compare.
    kept = [record for record in fits if (record.seed, record.attribute) != (2, "Language")]
    assert seed_table(kept, [mean], TRACK).rows[0].cells[3].value == pytest.approx(0.7)
    lone = [record for record in fits if record.seed == 0]
    assert not has_seeds(lone)
    with pytest.raises(SuiteError, match="a method with several seeds"):
        seed_table(lone, [mean], TRACK)


def test_all_files_are_written(tmp_path: Path) -> None:
    paths: Sequence[Path] = publish_tables(saved(tmp_path / "a", scores()))
    assert sorted(path.name for path in paths) == sorted(p.name for p in (tmp_path / "a/tables").iterdir())
    assert len(paths) == 2 * (len(RENDERERS) + 1)
    main = pd.read_parquet(tmp_path / "a/tables/main.parquet")
    of_csv = pd.read_csv(
        tmp_path / "a/tables/main.csv", keep_default_na=False, dtype={"seed": str, "size": str}
    )
    assert list(main.columns) == list(of_csv.columns) == list(HEADER)
    assert list(main["method"]) == list(of_csv["method"])
    assert main["value"].dtype == "float64"
    assert main["best"].dtype == bool
    assert [repr(value) for value in main["value"].dropna()] == [str(v) for v in of_csv["value"] if v != ""]
    run = saved(tmp_path / "b", by_kind())
    write_jsonl(run.averages, (record.to_json() for record in averages()))
    write_jsonl(run.comparisons, (record.to_json() for record in comparisons()))
    assert {path.stem for path in publish_tables(run)} == {"main", "attributes", "kinds"}


def saved(folder: Path, records: Sequence[ScoreRecord]) -> RunFolder:
    """A run that holds these scores and nothing else."""
    run = RunFolder(folder)
    write_jsonl(run.scores, (record.to_json() for record in records))
    return run


def test_as_plain_values_a_comparison_is_its_relation_and_its_p_value() -> None:
    table = main_table(scores(), comparisons=comparisons())
    plain = table.to_json()
    assert json.loads(json.dumps(plain))["notes"] == list(table.notes)
    found = {row["label"]: row["cells"][2]["vs_best"] for row in plain["rows"]}
    assert found["mdas"] == {"relation": "best", "p": None}
    assert found["das"] == {"relation": "differs", "p": 0.01}
