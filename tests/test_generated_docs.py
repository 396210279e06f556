"""Pages with generated parts are what `scripts/generate_docs.py` writes, and list what a run holds."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from evaluation.records.layout import is_laid_out

ROOT = Path(__file__).resolve().parent.parent


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "scripts" / "generate_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_committed_pages_are_what_the_script_writes() -> None:
    for page, text in script().pages().items():
        assert page.read_text(encoding="utf-8") == text, f"run scripts/generate_docs.py: {page.name} differs"


def test_every_method_is_in_one_table() -> None:
    generate = script()
    text = "".join(map(generate.methods_of, generate.SECTIONS.values()))
    assert [text.count(f"| `{name}` |") for name in generate.METHODS.names()] == [1] * len(
        generate.METHODS.names()
    )


def test_every_file_of_a_kept_run_is_in_the_drawing() -> None:
    run = ROOT / "tests" / "golden" / "v2" / "run"
    files = [path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [name for name in files if not is_laid_out(name)] == []


@pytest.mark.parametrize(
    "name", ["notes.txt", "cells/ab/other.json", "cells/cell.json", "instance/x/y.jsonl"]
)
def test_other_files_are_not_laid_out(name: str) -> None:
    assert not is_laid_out(name)
