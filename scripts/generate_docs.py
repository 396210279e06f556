"""Writes into the documentation what stands in the code: the folder of a run, the table of methods.

    python scripts/generate_docs.py

What is between `<!-- generated: NAME -->` and `<!-- end -->` of a page is replaced. A test fails where a page
differs from what this script writes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from das.methods.common.base import Method  # noqa: E402
from das.methods.registry import METHODS  # noqa: E402
from evaluation.records.layout import layout_lines  # noqa: E402

DOCS = ROOT / "docs"
SECTIONS = {
    "subspaces": ("closed_form", "trained"),
    "neurons and coordinates": ("neurons", "masks"),
    "dictionaries": ("dictionaries",),
    "floors and ceiling": ("bounds",),
    "detectors": ("detection",),
    "edits": ("steering",),
}
"""Sections of the page of methods, each with folders of `das/methods/`."""


def folder_of_a_run() -> str:
    """Return the drawing of a run's folder."""
    return "\n".join(["```text", *layout_lines(), "```"])


def methods_of(families: Sequence[str]) -> str:
    """Return the table of the methods of some families, in the order of the families."""
    found = sorted(METHODS, key=lambda method: method.name)
    rows = [_row(method) for family in families for method in found if _family(method) == family]
    return "\n".join(["| method | what it finds | labels | pairs |", "|---|---|---|---|", *rows])


def _family(method: type[Method]) -> str:
    return method.__module__.split(".")[2]


def _row(method: type[Method]) -> str:
    needs = (method.needs_labels, method.needs_pairs)
    return f"| `{method.name}` | {method.summary} | {' | '.join('yes' if n else 'no' for n in needs)} |"


def pages() -> dict[Path, str]:
    """Return every page that holds something generated, as it must be."""
    methods = {name: methods_of(families) for name, families in SECTIONS.items()}
    return {
        DOCS / "run-folder.md": _filled(DOCS / "run-folder.md", {"folder of a run": folder_of_a_run()}),
        DOCS / "methods.md": _filled(DOCS / "methods.md", methods),
    }


def _filled(page: Path, parts: dict[str, str]) -> str:
    text = page.read_text(encoding="utf-8")
    for name, part in parts.items():
        begin, end = f"<!-- generated: {name} -->\n", "<!-- end -->\n"
        place = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        if len(place.findall(text)) != 1:
            raise SystemExit(f"{page} has not one place for {name}")
        before, after = place.split(text)
        text = f"{before}{begin}\n{part}\n\n{end}{after}"
    return text


def main() -> None:
    """Write the pages."""
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
