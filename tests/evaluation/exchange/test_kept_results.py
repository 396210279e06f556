"""Results that are kept in the repository: sound, small, without texts, and enough for tables."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from cli_world import FAST, World, ravel, suite_text

from evaluation.exchange.submission import SubmissionInfo, pack_run
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import read_scores
from evaluation.verify.submission.check import check_submission
from evaluation.verify.submission.unpack import opened

ROOT = Path(__file__).resolve().parents[3]
MOST_BYTES = 30_000_000
KEPT = [path for path in sorted((ROOT / "results").iterdir()) if path.suffix != ".md"]
PAGE = """# A page

<!-- kept_main -->
<!-- /kept_main -->

<!-- kept_settings -->
old
<!-- /kept_settings -->
"""


def test_they_are_small() -> None:
    files = [path for path in (ROOT / "results").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES


def test_each_is_sound_and_without_texts() -> None:
    for path in KEPT:
        with opened(path) as folder:
            found = check_submission(folder)
        assert found.problems == (), path.name
        assert found.submission is not None
        assert (found.submission.names_templates, bool(found.claims)) == (True, True), path.name


def test_each_is_listed() -> None:
    text = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in KEPT if f"| `{path.name}` |" not in text] == []


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with floors; leave it unchanged."""
    root = tmp_path_factory.mktemp("kept")
    methods = [{"name": "das", "config": FAST}, "pca"]
    (root / "suite.yaml").write_text(suite_text(world, methods=methods, generalisations=["context"]))
    done = ravel("run", root / "suite.yaml", "--out", root / "run")
    assert done.exit_code == 0, done.output
    return root / "run"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with its places among those that are searched for this test alone."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    return import_module("keep_comparison")


def test_a_submission_gives_the_tables_of_its_run(
    run: Path, script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = list(dict.fromkeys(r.method for r in read_scores(run / "scores.jsonl")))
    pack_run(run, tmp_path / "kept.zip", SubmissionInfo("Kept"), methods=everything)
    for source, name in ((run, "of_run"), (tmp_path / "kept.zip", "of_submission")):
        page = tmp_path / f"{name}.md"
        page.write_text(PAGE)
        out = ["--out", str(tmp_path / name), "--into", str(page)]
        monkeypatch.setattr(sys, "argv", ["keep_comparison.py", str(source), "kept", *out])
        script.main()
    tables = [path.name for path in sorted((tmp_path / "of_run").glob("*.md"))]
    assert tables == ["kept_attributes.md", "kept_kinds.md", "kept_main.md"]
    for table in tables:
        theirs, ours = ((tmp_path / n / table).read_text() for n in ("of_run", "of_submission"))
        assert theirs.split("\n|", 1)[1] == ours.split("\n|", 1)[1]
    pages = [(tmp_path / f"{name}.md").read_text() for name in ("of_run", "of_submission")]
    assert pages[0] == pages[1]
    assert "| das |" in pages[0]
    assert "old" in pages[0]
    assert (tmp_path / "of_submission" / "kept_cause_isolate.png").is_file()


def test_sizes_stand_beside_each_other(script: ModuleType, tmp_path: Path) -> None:
    def line(size: int, attribute: str, cause: float, **other: str) -> str:
        own = {
            "method": "das",
            "partition": "val",
            "source_kind": "all",
            "generalisation": "context",
            **other,
        }
        measures = {"cause": cause, "isolate": 0.5, "disentangle": (cause + 0.5) / 2}
        return json.dumps({**own, **other, "size": size, "attribute": attribute, **measures})

    rows = [line(4, "Hue", 0.2), line(4, "Taste", 0.4), line(8, "Hue", 0.6), line(8, "Taste", 0.6)]
    rows += [line(128, "Hue", 1.0, method="full_vector"), line(4, "Hue", 0.9, partition="test")]
    entity = [line(size, "Hue", 0.1, generalisation="entity") for size in (4, 8)]
    (tmp_path / "scores.jsonl").write_text("\n".join([*rows, *entity]) + "\n")
    table = script.sizes_table(RunFolder(tmp_path)).splitlines()
    assert table[2] == "| das | 4 | 0.300 | 0.500 | 0.400 | 0.100 | 0.500 | 0.300 |"
    assert table[3] == "| das | 8 | 0.600 | 0.500 | 0.550 | 0.100 | 0.500 | 0.300 |"
    assert len(table) == 4


def test_a_damaged_one_gives_none(run: Path, script: ModuleType, tmp_path: Path) -> None:
    pack_run(run, tmp_path / "kept", SubmissionInfo("Kept"))
    path = tmp_path / "kept" / "scores.jsonl"
    path.write_text(path.read_text().replace('"size": 4', '"size": 5'))
    with pytest.raises(SystemExit, match="differs from its hash"):
        script.of_submission(tmp_path / "kept", tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_the_tables_over_types_are_what_they_give() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "first_table.py")], capture_output=True, text=True, check=True
    )
    first, orders = (part.strip() for part in re.findall(r"(?:^\|.*\n)+", done.stdout, re.MULTILINE))
    findings = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    assert first in (ROOT / "README.md").read_text(encoding="utf-8")
    assert first in findings
    assert orders in findings
