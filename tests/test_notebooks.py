"""Tutorials as notebooks: made from their pages, and still what the pages say."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "scripts"))

from make_notebooks import PAGES, PLACE, Shown, cells_of, make, notebook, outputs_of, stale  # noqa: E402

PAGE = """# Title

See [it](a/b.md) and [that](https://x.example).

```python
number = 3
print("one")
```

```bash
ravel list
```

```python
number + 1
```
"""


def test_a_page_becomes_cells_in_its_order_and_other_fences_stay_text() -> None:
    kinds, sources = zip(*cells_of(PAGE), strict=True)
    assert kinds == ("markdown", "code", "markdown", "code")
    assert sources[0].endswith("See [it](../a/b.md) and [that](https://x.example).")
    assert sources[1] == 'number = 3\nprint("one")'
    assert "ravel list" in sources[2]


def test_cells_share_names_and_the_last_value_is_shown(tmp_path: Path) -> None:
    before = Path.cwd()
    assert outputs_of(["a = 3\nprint(a)", "a + 1", "None", "import os; os.getcwd()"], tmp_path) == [
        *map(Shown, ("3\n", "4\n", "", f"{str(tmp_path)!r}\n"))
    ]
    assert Path.cwd() == before


def test_a_last_value_that_is_a_picture_is_shown(tmp_path: Path) -> None:
    drawn = "class Picture:\n    def _repr_svg_(self):\n        return '<svg/>'\n\nprint(1)\nPicture()"
    assert outputs_of([drawn], tmp_path) == [Shown("1\n", "<svg/>")]
    made = notebook([("code", drawn)], [Shown("1\n", "<svg/>")])
    assert made["cells"][0]["outputs"][1]["data"]["image/svg+xml"] == ["<svg/>"]


def test_a_cell_that_fails_ends_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        outputs_of(["1 / 0"], tmp_path)


def test_a_notebook_has_what_the_format_asks_for() -> None:
    made = notebook(cells_of(PAGE), [Shown("one\n"), Shown("4\n")])
    assert (made["nbformat"], made["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in made["cells"]}) == 4
    code = [cell for cell in made["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [1, 2]
    assert [cell["outputs"][0]["text"] for cell in code] == [["one\n"], ["4\n"]]
    assert all("outputs" not in cell for cell in made["cells"] if cell["cell_type"] == "markdown")


@pytest.mark.parametrize("name", PAGES)
def test_the_kept_notebooks_are_those_of_their_pages_and_were_run(name: str) -> None:
    assert stale(name) is None, "run scripts/make_notebooks.py"
    cells = json.loads((PLACE / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    assert sum(bool(cell.get("outputs")) for cell in cells) >= 3
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    pictures = ["".join(o["data"]["image/svg+xml"]) for o in outputs if "data" in o]
    assert pictures
    assert all(picture.lstrip().startswith("<") and len(picture) < 60_000 for picture in pictures)


def test_the_site_shows_what_cells_print(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    from docs_site import with_outputs

    (tmp_path / "x.ipynb").write_text(
        json.dumps(notebook(cells_of(PAGE), [Shown("one\n"), Shown("", "<svg/>")]))
    )
    shown = with_outputs(PAGE, tmp_path / "x.ipynb")
    assert '```text title="prints"\none\n```' in shown
    assert shown.count("prints") == 1
    picture = base64.b64encode(b"<svg/>").decode()
    assert shown.rstrip().endswith(f'src="data:image/svg+xml;base64,{picture}">')
    assert with_outputs(PAGE, tmp_path / "none.ipynb") == PAGE


@pytest.mark.long
@pytest.mark.parametrize("name", PAGES)
def test_the_notebooks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("make_notebooks.PLACE", tmp_path)
    make(name)
    assert (tmp_path / f"{name}.ipynb").is_file()
