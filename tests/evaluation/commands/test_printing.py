"""Progress, tables and interruptions as the command line shows them."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace

import pytest
import typer
from outcome_world import score_record
from rich.console import Console
from rich.progress import Progress

from evaluation.commands.printing import (
    Interrupted,
    Result,
    keeping,
    log_lines,
    print_rows,
    progress,
    say,
    shown_progress,
    warn,
)
from evaluation.commands.printing.comparisons import print_comparisons
from evaluation.commands.printing.scores import print_scores
from evaluation.commands.printing.tables import print_table
from evaluation.report.tables import Column, Comparison, Row, Table, TableCell
from ravel.common.progress import Counted, Finished, Note

TABLE = Table(
    name="main",
    title="A title",
    block_header="",
    columns=(Column("context", "cause"), Column("context", "disentangle")),
    rows=(
        Row("", "mdas", "", False, (TableCell(0.5, (0.25, 0.75), 8, best=True), TableCell(0.625, None, 9))),
        Row("", "no_op", "", True, (TableCell(0.0, None, 8), TableCell(0.25, None, 7, below_no_op=True))),
        Row("", "void", "", True, (TableCell(None, None, 8), TableCell(None, None, 0))),
    ),
    notes=("A note [with] brackets.",),
)


def test_a_table_shows_values_intervals_marks_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(TABLE)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "A title"
    text = "\n".join(" ".join(line.split()) for line in lines)
    assert "pairs 8" in text
    assert "mdas *0.500 0.625\n[0.250, 0.750] n=9" in text
    assert "*: the best of its column." in text
    assert "no_op 0.000 †0.250\nn=7" in text
    assert "void - -\n" in text
    assert "A note [with] brackets." in text


def test_wide_tables_are_not_cut_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Workers of pytest have a width of their own.
    monkeypatch.delenv("COLUMNS", raising=False)
    print_rows(["a"], [["x" * 150]])
    assert "x" * 150 in capsys.readouterr().out


LONG = "method_with_a_name_of_some_length"
SPLITS = ("context", "entity", "entity_context")
WIDE_TABLE = Table(
    name="attributes",
    title="A title",
    block_header="attribute",
    columns=tuple(Column(split, name) for split in SPLITS for name in ("cause", "isolate", "disentangle")),
    rows=tuple(
        Row(
            block,
            name,
            "",
            name == "no_op",
            tuple(
                TableCell((at + 1) / 64 + shift, (at / 64, (at + 2) / 64), 4321, best=True) for at in range(9)
            ),
        )
        for block, shift in (("Country", 0.0), ("Birthplace of Somebody", 0.5))
        for name in ("mdas", LONG, "no_op")
    ),
    notes=("A note of some length. " * 8,),
)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 132, 200])
def test_no_number_and_no_name_is_cut_at_any_width(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit beside the rest stands below it; from a usual width on every line fits."""
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(WIDE_TABLE)
    lines = capsys.readouterr().out.splitlines()
    text = "\n".join(lines)
    names = {row.label for row in WIDE_TABLE.rows} | {f"{row.block} (pairs)" for row in WIDE_TABLE.rows}
    cells = [cell for row in WIDE_TABLE.rows for cell in row.cells]
    for written in (*names, *SPLITS, "disentangle", *(f"*{cell.value:.3f}" for cell in cells)):
        assert written in text
    for low, high in (cell.interval for cell in cells if cell.interval):
        assert f"[{low:.3f}, {high:.3f}]" in text
    assert "…" not in text
    if width >= 80:
        assert max(map(len, lines[: lines.index("*: the best of its column.")])) <= width


@pytest.mark.parametrize("width", [30, 50, 80, 120])
def test_rows_of_text_wrap_at_words_or_are_stacked(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    rows = [["neurons_attribution", "several words that may be wrapped " * 3, "block_output.2@entity_last"]]
    print_rows(["method", "summary", "site"], rows)
    text = capsys.readouterr().out
    assert {"neurons_attribution", "block_output.2@entity_last", "wrapped"} <= set(text.split())
    assert max(map(len, text.splitlines())) <= width


def test_comparisons_are_of_the_best_with_the_rest_and_of_methods_with_the_baseline(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ahead = Comparison("differs", 0.01, "no_op", 0.25, (0.125, 0.375))
    behind = Comparison("tied", 0.4, "mdas", -0.25, (-0.5, 0.0))
    column = Column("context", "disentangle", "disentangle")
    cells = {
        "das": TableCell(0.5, vs_best=behind),
        "mdas": TableCell(0.75, best=True, vs_best=Comparison("best"), vs_no_op=ahead),
        "full_vector": TableCell(0.5, vs_no_op=replace(ahead, relation="tied"), vs_best=behind),
    }
    rows = tuple(Row("", name, "", name == "full_vector", (cell,)) for name, cell in cells.items())
    print_comparisons(replace(TABLE, columns=(column,), rows=rows))
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "mdas - das +0.250 [-0.000, +0.500] no" in said
    assert "mdas - no_op +0.250 [+0.125, +0.375] yes" in said
    assert not any("full_vector" in line for line in said)


def test_very_many_comparisons_are_left_to_the_marks(capsys: pytest.CaptureFixture[str]) -> None:
    versus = Comparison("differs", 0.01, "no_op", 0.25, (0.125, 0.375))
    rows = tuple(Row("", f"m{at}", "", False, (TableCell(0.75, vs_no_op=versus),)) for at in range(31))
    column = Column("context", "disentangle", "disentangle")
    print_comparisons(replace(TABLE, columns=(column,), rows=rows))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.7, 0.9), "das is 0.300 better than it."),
        ((0.4, 0.9), "is not shown to differ from it."),
        (None, "is not shown to differ from it."),
    ],
)
def test_a_score_stands_beside_what_doing_nothing_scores(
    interval: tuple[float, float] | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_scores([score_record(method="das", disentangle=0.8, disentangle_interval=interval)])
    text = " ".join(capsys.readouterr().out.split())
    assert "doing nothing (no_op) scores disentangle 0.500" in text
    assert said in text


def test_progress_off_a_terminal_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 0.0, 10.0, 20.0, 25.0, 40.0])
    monkeypatch.setattr(log_lines.time, "monotonic", lambda: next(clock))
    with shown_progress() as report:
        for done in range(5):
            report(Counted("cells", done, 8))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "cells: 2 of 8, about 60 s left",
        "cells: 4 of 8, about 40 s left",
    ]


def test_a_stage_that_starts_over_is_timed_anew(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 0.0, 10.0, 100.0, 120.0])
    monkeypatch.setattr(log_lines.time, "monotonic", lambda: next(clock))
    lines = log_lines.LogLines()
    for done, total in ((0, 4), (4, 4), (0, 8), (2, 8)):
        lines.report(Counted("judge", done, total))
    assert capsys.readouterr().err.splitlines() == ["judge: 0 of 8", "judge: 2 of 8, about 60 s left"]


def test_a_silent_stage_off_a_terminal_still_has_a_line_every_thirty_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Beats are five seconds apart; whatever is written in between counts."""
    assert log_lines._SILENT_BEATS * log_lines._SECONDS_BETWEEN_BEATS < 30
    lines = log_lines.LogLines()
    for happens in (4, 5, Counted("answers", 1, 9), 4, Note("here"), 4, 1):
        if isinstance(happens, int):
            for _ in range(happens):
                lines.beat()
        else:
            lines.report(happens)
    of_answers = "answers: 1 of 9, still at it"
    assert capsys.readouterr().err.splitlines() == ["still at it", of_answers, "here", of_answers]


def test_beats_come_by_themselves(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "_SECONDS_BETWEEN_BEATS", 0.001)
    with shown_progress() as report:
        report(Counted("model", 0, 1))
        time.sleep(0.1)
    assert "model: 0 of 1, still at it" in capsys.readouterr().err.splitlines()


def test_each_finished_cell_has_a_line_with_what_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 100.0, 160.0, 220.0])
    monkeypatch.setattr(log_lines.time, "monotonic", lambda: next(clock))
    with shown_progress() as report:
        # 97 cells were finished by an earlier process: they say nothing of the pace.
        for done, name in ((98, "a"), (99, "b"), (101, "c")):
            report(Finished(name, 1.0, done, 101))
    assert capsys.readouterr().err.splitlines() == [
        "[98/101] a in 1.0 s",
        "[99/101] b in 1.0 s, about 2 min left",
        "[101/101] c in 1.0 s",
    ]


def test_a_note_is_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress() as report:
        report(Note("cache: [none]"))
    assert capsys.readouterr().err == "cache: [none]\n"


def test_bars_share_a_row_for_what_happens_inside_cells() -> None:
    drawn = Progress(console=Console(file=io.StringIO()))
    bars = progress._Bars(drawn)
    for event in (
        Counted("cells", 0, 2),
        Counted("fit das A", 3, 9, part=True),
        Counted("judge das A", 0, 5, part=True),
        Counted("cells", 1, 2),
        Counted("fit das B", 9, 9, part=True),
    ):
        bars.report(event)
    assert [(task.description, task.completed, task.total) for task in drawn.tasks] == [
        ("cells", 1, 2),
        ("fit das B", 9, 9),
    ]


def test_an_interruption_says_what_is_kept() -> None:
    with pytest.raises(Interrupted, match=r"^Interrupted\. All is kept\.$"), keeping("All is kept."):
        raise KeyboardInterrupt


def test_a_warning_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    warn("one\ntwo")
    assert capsys.readouterr().err == "one two\n"


def test_a_result_is_json_or_text_and_never_both(capsys: pytest.CaptureFixture[str]) -> None:
    result = Result([{"a": 1}, {"b": None}], lambda: say("in words"))
    result.print(as_json=False)
    assert capsys.readouterr().out == "in words\n"
    result.print(as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"a": 1}, {"b": None}]


def test_rows_of_a_result_are_a_line_of_json_each(capsys: pytest.CaptureFixture[str]) -> None:
    Result([{"a": 1}, {"b": None}], lambda: None, by_line=True).print(as_json=True)
    assert capsys.readouterr().out == '{"a": 1}\n{"b": null}\n'


@pytest.mark.parametrize("as_json", [True, False])
def test_warnings_and_the_exit_code_come_after_the_result(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as stopped:
        Result("r", lambda: say('"r"'), warnings=["first", "second"], exit_code=2).print(as_json=as_json)
    assert stopped.value.exit_code == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ('"r"\n', "first\nsecond\n")
