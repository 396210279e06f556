"""The formats of other tools: each in the table can be read or written, and the how-to lists the same."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from evaluation.exchange import exporting, importing
from evaluation.exchange.formats import DATASET, EXPORT_FORMATS, IMPORT_FORMATS, SAEBENCH

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "exchange-with-other-tools.md"


def test_every_format_has_its_reader_or_writer() -> None:
    assert importing._READERS.keys() == IMPORT_FORMATS.keys()
    assert {*exporting._WRITERS, DATASET, SAEBENCH} == EXPORT_FORMATS.keys()


def test_settings_of_a_format_are_those_of_a_request() -> None:
    named = [setting for form in IMPORT_FORMATS.values() for setting in form.settings]
    assert len(set(named)) == len(named)
    assert set(named) <= {field.name for field in fields(importing.ImportRequest)}


@pytest.mark.parametrize("command", ["import", "export"])
def test_the_how_to_lists_the_formats(command: str) -> None:
    section = PAGE.read_text(encoding="utf-8").split("## Formats")[1].split("\n## ")[0]
    table = section.split(f"| `ravel {command} --format` |")[1].split("\n\n")[0]
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.*?) \|", table, re.MULTILINE))
    paths = {name: form.path for name, form in IMPORT_FORMATS.items()}
    assert rows == (paths if command == "import" else EXPORT_FORMATS)
