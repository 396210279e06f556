"""The block of diagnoses on the page: escaped, complete, absent where nothing was diagnosed."""

from __future__ import annotations

import re
from pathlib import Path

from report_world import ATTRIBUTES, HOSTILE_METHOD, SITE, make_run

from evaluation.records.diagnosis import (
    DIAGNOSTICS,
    CellDiagnoses,
    Check,
    Diagnosis,
    Measure,
    PatchScore,
    Undiagnosed,
    read_cell_diagnoses,
    write_cell_diagnoses,
)
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import read_scores
from evaluation.report.page import read_report, to_html, write_report

REASON = "Expected a subspace; got <b>none</b>"


def diagnosis(attribute: str) -> Diagnosis:
    return Diagnosis(
        *(HOSTILE_METHOD, attribute, "city", "model", SITE, 2, 8, 0, "context", "val", 12, 34),
        settings={"limit_pairs": 12},
        normalisation="parts are <i>orthonormalised</i>",
        patches=(
            PatchScore("full", "", 2, 0.75, 0.5, 0.625, 1.25, 0.5),
            PatchScore("shuffled", "", None, None, None, None, None, None, "none was given"),
        ),
        measures=(Measure("variance_share", 0.125, "by chance 0.250"),),
        checks=(
            Check("null_part", 0.62, 0.2, "at most", "failed", "null part carries 62% of cause"),
            Check("seeds_agree", None, 0.5, "at least", "not applicable", "not applicable", "one <seed>"),
        ),
        verdict="passes 0 of 1; fails: null part carries 62% of cause",
    )


def diagnosed_run(folder: Path) -> Path:
    """A run of which one cell has a diagnosis for one attribute and none for the others it serves."""
    run = RunFolder(make_run(folder))
    chosen = [r for r in read_scores(run.scores) if r.chosen and r.method == HOSTILE_METHOD]
    for record in {record.cell: record for record in chosen}.values():
        served = sorted({r.attribute for r in chosen if r.cell == record.cell})
        own = [diagnosis(a) for a in served if a == ATTRIBUTES[0]]
        others = [Undiagnosed(a, REASON) for a in served if a != ATTRIBUTES[0]]
        write_cell_diagnoses(
            run.cell(record.cell).path / DIAGNOSTICS, CellDiagnoses(tuple(own), tuple(others))
        )
    return run.path


def test_a_page_without_diagnoses_says_nothing_of_them(tmp_path: Path) -> None:
    page = to_html(read_report(make_run(tmp_path / "run")))
    assert "iagnos" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)


def test_a_diagnosis_is_a_line_with_tables_and_its_text_is_escaped(tmp_path: Path) -> None:
    page = write_report(diagnosed_run(tmp_path / "run")).read_text(encoding="utf-8")
    (block,) = re.findall(r'<section id="diagnostics".*?</section>', page, re.DOTALL)
    assert block.count('<details class="diagnosis" data-failed="yes">') == 1
    assert "<span>passes 0 of 1; fails: null part carries 62% of cause</span>" in block
    assert re.findall(r"<caption>(\w+)</caption>", block) == ["Checks", "Patches", "Measures"]
    for text in ("<td>0.620</td>", "<td>at most 0.2</td>", "one &lt;seed&gt;", "<td>none was given</td>"):
        assert text in block
    assert "12 cause and 34 isolate pairs (context, val)" in block
    for hostile in ("<img", "<i>", "<b>none", "<seed>"):
        assert hostile not in block
    assert "without a diagnosis, and why" in block
    assert '<a href="#diagnostics">' in page


def test_the_diagnoses_of_a_cell_come_back(tmp_path: Path) -> None:
    found = CellDiagnoses((diagnosis("A"), diagnosis("B")), (Undiagnosed("C", REASON),))
    write_cell_diagnoses(tmp_path / DIAGNOSTICS, found)
    assert read_cell_diagnoses(tmp_path / DIAGNOSTICS) == found
    assert [each.attribute for each in found.each()] == ["A", "B", "C"]
