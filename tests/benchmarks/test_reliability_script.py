"""The scripts behind docs/reliability.md and the sizing table: what they count, and that the pages say it."""

from __future__ import annotations

import json
from pathlib import Path

import executions
import pytest
from reliability import FIGURES, cost_table, fuzzed_table, refused_table, survived_table
from sizing import PRESETS, STEPS, made_up_run, sizing_table, sum_up, summing_table

ROOT = Path(__file__).resolve().parents[2]
COUNTS = {"injected": 9, "survived": 9, "cells_lost": 0, "cells_doubled": 0}
KILLS = {"kills": 8, "runs": 2, "equal_runs": 2, "cells_lost": 0, "cells_doubled": 0}


def test_a_kill_is_survived_only_where_every_run_ended_in_equal_bytes() -> None:
    well = survived_table({"kills": {"serial": KILLS}})
    assert "| SIGKILL of `ravel run`, serial | 8 | 8 | 0 | 0 |" in well
    badly = survived_table({"kills": {"serial": {**KILLS, "equal_runs": 1}}})
    assert "| SIGKILL of `ravel run`, serial | 8 | 0 | 0 | 0 |" in badly


def test_tables_sum_what_they_list() -> None:
    mutations = {
        "a": {"tried": 3, "refused": 3, "accepted": 0, "crashed": 0},
        "b": {"tried": 4, "refused": 2, "accepted": 1, "crashed": 1},
    }
    assert "| **all** | 7 | 5 | 1 | 1 |" in refused_table({"mutations": mutations})
    rows = [{"reader": name, "inputs": 1000, "loaded": 1, "refused": 998, "escaped": 1} for name in "ab"]
    assert "| **all** | 2,000 | 2 | 1,996 | 2 |" in fuzzed_table({"fuzz": rows})


def test_the_sizing_table_is_what_the_plan_says_today() -> None:
    page = (ROOT / "docs" / "how-to" / "run-on-several-machines.md").read_text(encoding="utf-8")
    assert sizing_table() in page
    assert all(f"`{name}`" in page for name in PRESETS)


@pytest.mark.slow
def test_a_made_up_run_is_summed_up_as_a_fitted_one_is(tmp_path: Path) -> None:
    run = made_up_run(tmp_path / "run", 6)
    first = sum_up(run)
    names = ("scores.jsonl", "averages.jsonl", "comparisons.jsonl", "tables/main.md", "report.html")
    written = {name: (tmp_path / "run" / name).read_bytes() for name in names}
    # The first cells of the grid are of one method, with nothing to compare it with.
    assert all(text for name, text in written.items() if name != "comparisons.jsonl")
    sum_up(made_up_run(tmp_path / "run", 6))
    assert written == {name: (tmp_path / "run" / name).read_bytes() for name in names}
    assert first.keys() == {"choice", *STEPS, "records", "all"}
    assert first["all"] == pytest.approx(sum(s for step, s in first.items() if step != "all"))
    table = summing_table({"cells": 6, "processor": "x", "seconds": first}, {"seconds": first})
    assert "| step | seconds before | seconds |" in table


def test_the_page_shows_the_figures_that_were_kept() -> None:
    """Of every fault that was counted none cost a cell, and none of what was refused came through."""
    found = json.loads(FIGURES.read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    for table in (survived_table, refused_table, fuzzed_table, cost_table):
        assert table(found) in page
    kills = found["kills"].values()
    assert sum(counts["kills"] for counts in kills) >= 50
    assert all(counts["equal_runs"] == counts["runs"] and not counts["failures"] for counts in kills)
    assert sum(count["tried"] for count in found["mutations"].values()) >= 200
    assert sum(row["inputs"] for row in found["fuzz"]) >= 10_000
    for counts in (*found["faults"].values(), *kills):
        assert (counts["cells_lost"], counts["cells_doubled"], counts["failures"]) == (0, 0, [])


def pretended(monkeypatch: pytest.MonkeyPatch, scores: dict[str, str]) -> None:
    """Let each way take as many seconds as its name has letters, and find these scores."""

    def timed(suite: Path, out: Path, way: str, workers: int) -> float:
        (out / "cells" / "one").mkdir(parents=True)
        (out / "scores.jsonl").write_text(scores.get(way, "right"))
        return float(len(way))

    monkeypatch.setattr(executions, "built", lambda folder, quick: folder / "instance")
    monkeypatch.setattr(executions, "timed", timed)


def test_ratios_of_executions_are_of_serial_to_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    pretended(monkeypatch, {})
    found = executions.measure(quick=True, runs=2, workers=2)
    assert (found["ratios"], found["cells"]) == ([6 / 9, 6 / 9], 1)
    assert (found["ratio_of_one_thread"], found["most"]) == (18 / 9, 2 * 6 / 18)


def test_a_way_that_gives_other_bytes_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    pretended(monkeypatch, {"processes": "wrong"})
    with pytest.raises(SystemExit, match="run 0 with processes gave other bytes"):
        executions.measure(quick=True, runs=1, workers=2)


@pytest.mark.slow
@pytest.mark.long
def test_the_benchmark_of_executions_runs() -> None:
    found = executions.measure(quick=True, runs=1, workers=2)
    assert found["ratio"] > 0
    assert found["ratio_of_one_thread"] > 0
    assert found["cells"] == 14
