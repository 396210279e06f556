"""Make the notebooks of the tutorials from their pages, run, with what they print.

    python scripts/make_notebooks.py [PAGE ...]

A page's Python blocks are the code of its notebook, and all else its text, so that there is one source. Run
it again when a page or what it calls has changed; `--check` only says whether the code is still the page's.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

DOCS = ROOT / "docs"
PLACE = DOCS / "tutorials"
PAGES = ("bring-your-own-model", "from-facts-to-table")
"""Pages whose notebook is kept."""
_CODE = re.compile(r"^```python\n(.*?)^```$\n?", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?://|#)([^)]+)\)")


def cells_of(text: str) -> list[tuple[str, str]]:
    """Return the kinds and the sources of a page's cells, in order: `markdown` and `code`."""
    parts = _CODE.split(text)
    cells = [("code" if number % 2 else "markdown", part.strip("\n")) for number, part in enumerate(parts)]
    return [
        (kind, _LINK.sub(r"](../\1)", part) if kind == "markdown" else part) for kind, part in cells if part
    ]


class Shown(NamedTuple):
    """What a cell shows."""

    text: str
    """What it prints."""
    svg: str = ""
    """A picture, where its last value is one."""


def outputs_of(sources: Sequence[str], folder: Path) -> list[Shown]:
    """Run code one after the other in a folder, in one namespace, and return what each shows: what it prints,
    and the value of a last expression, as notebooks do."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    here = Path.cwd()
    os.chdir(folder)
    try:
        return [_printed(source, namespace) for source in sources]
    finally:
        os.chdir(here)


def _printed(source: str, namespace: dict[str, Any]) -> Shown:
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        exec(compile(tree, "cell", "exec"), namespace)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)
            if hasattr(value, "_repr_svg_"):
                return Shown(said.getvalue(), value._repr_svg_())
            if value is not None:
                said.write(f"{value!r}\n")
    return Shown(said.getvalue())


def notebook(cells: Sequence[tuple[str, str]], outputs: Sequence[Shown]) -> dict[str, Any]:
    """Return a notebook of format 4.5."""
    left, made, number = iter(outputs), [], 0
    for place, (kind, source) in enumerate(cells):
        cell: dict[str, Any] = {
            "id": f"cell-{place}",
            "cell_type": kind,
            "metadata": {},
            "source": _lines(source),
        }
        if kind == "code":
            number += 1
            cell |= {"execution_count": number, "outputs": list(_outputs(next(left, Shown("")), number))}
        made.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": made,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _outputs(shown: Shown, number: int) -> Iterator[dict[str, Any]]:
    if shown.text:
        yield {"name": "stdout", "output_type": "stream", "text": _lines(shown.text)}
    if shown.svg:
        data = {"image/svg+xml": _lines(shown.svg), "text/plain": ["<figure>"]}
        yield {"data": data, "execution_count": number, "metadata": {}, "output_type": "execute_result"}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def stale(name: str) -> str | None:
    """Return in what a notebook differs from its page, leaving aside what was printed; None if in nothing."""
    path = PLACE / f"{name}.ipynb"
    if not path.is_file():
        return f"{path} is missing"
    kept = json.loads(path.read_text(encoding="utf-8"))
    page = cells_of((DOCS / f"{name}.md").read_text(encoding="utf-8"))
    ours = [(cell["cell_type"], "".join(cell["source"])) for cell in kept["cells"]]
    return None if ours == page else f"{path} is not what docs/{name}.md gives"


def make(name: str) -> None:
    """Run a page and write its notebook."""
    cells = cells_of((DOCS / f"{name}.md").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        outputs = outputs_of([source for kind, source in cells if kind == "code"], Path(folder))
    PLACE.mkdir(exist_ok=True)
    text = json.dumps(notebook(cells, outputs), indent=1, ensure_ascii=False) + "\n"
    (PLACE / f"{name}.ipynb").write_text(text, encoding="utf-8")


def main() -> None:
    """Write the notebooks, or say which are stale."""
    parser = argparse.ArgumentParser(description="Make the notebooks of the tutorials from their pages.")
    parser.add_argument("pages", nargs="*", default=PAGES)
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    if not asked.check:
        for name in asked.pages:
            make(name)
    problems = [problem for name in asked.pages if (problem := stale(name))]
    if problems:
        raise SystemExit("; ".join(problems))


if __name__ == "__main__":
    main()
