"""Progress, tables and interruptions as the command line shows them."""

from __future__ import annotations

import io
import json
import time

import pytest
import typer
from rich.console import Console
from rich.progress import Progress

from evaluation.commands.printing import (
    Interrupted,
    Result,
    keeping,
    log_lines,
    print_rows,
    print_table,
    progress,
    say,
    shown_progress,
    warn,
)
from evaluation.report.tables import Column, Row, Table, TableCell
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
    assert "mdas *0.500 0.625\n0.250-0.750 n=9" in text
    assert "no_op 0.000 †0.250\nn=7" in text
    assert "void - -\n" in text
    assert "A note [with] brackets." in text


def test_wide_tables_are_not_cut_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(["a"], [["x" * 150]])
    assert "x" * 150 in capsys.readouterr().out


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
