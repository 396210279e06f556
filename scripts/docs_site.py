"""Hooks of mkdocs: pages from outside docs/ or made of declarations, and links that lead to them."""

from __future__ import annotations

import ast
import base64
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "results/README.md": "results.md",
    "data/city/README.md": "data-city.md",
    "data/invented_person/README.md": "data-invented-person.md",
}
"""Files of the repository that are pages of the site too."""
_RUN = (
    "ravel run --preset {} --data RELEASE --out RUN && "
    "python scripts/keep_comparison.py RUN {} --out docs/figures"
)
DRAWN_BY = {
    "beyond_mdas": "python benchmarks/beyond_mdas.py --plot docs/figures/beyond_mdas_frontier.png",
    "city_comparison": "ravel run --preset bundled-city-all --out RUN && "
    "python scripts/keep_comparison.py RUN city_comparison --out docs/figures",
    "coverage": "python benchmarks/coverage.py --sets 800 --plot docs/figures/coverage.png",
    "gradients": "python benchmarks/gradients.py --plot docs/figures/gradients.png",
    "knowledge": "python benchmarks/knowledge.py --entities 60 --plot docs/figures/knowledge.png",
    "layers": "python scripts/measure_target_model.py --out docs/figures",
    "official_comparison": "ravel run SUITE.yaml --out RUN && "
    "python scripts/keep_comparison.py RUN official_comparison --out docs/figures",
    "population_share": "python benchmarks/population_share.py --plot docs/figures/population_share.png",
    "scaling": "python benchmarks/scaling.py --plot docs/figures/scaling.png",
    "smollm2_city": _RUN.format("smollm2-135m-city", "smollm2_city"),
    "smollm2_nobel": _RUN.format("smollm2-135m-nobel", "smollm2_nobel"),
    "smollm2_object": _RUN.format("smollm2-135m-object", "smollm2_object"),
    "speed": "python benchmarks/engine.py --memory --plot docs/figures/speed.png",
    "token_attribution": "python benchmarks/token_attribution.py --instance INSTANCE --plots docs/figures",
    "validity": "python benchmarks/validity.py --run RUN --figures docs/figures",
}
"""What draws the figures whose names begin so, in full where the page of a figure says it."""
_PICTURE = re.compile(r"!\[([^\]]*)\]\((figures/[^)]+)\)")
_LINK = re.compile(r"\[([^\[\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
_PYTHON = re.compile(r"^```python\n.*?^```\n", re.MULTILINE | re.DOTALL)
_SOURCES = {page: source for source, page in OUTSIDE.items()}


def on_config(config: Any) -> Any:
    """Put a page per method behind the page of all."""
    for part in config["nav"]:
        if "Methods" in part:
            part["Methods"] += [page for page, _ in method_pages()]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that mkdocs does not find in docs/."""
    for source, page in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for page, text in [*method_pages(), ("gallery.md", gallery()), ("reference.md", reference())]:
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead links where their targets lie on the site; a file that is no page of it becomes plain text."""
    own = page.file.src_uri
    markdown = with_outputs(markdown, ROOT / "docs" / "tutorials" / f"{own.removesuffix('.md')}.ipynb")
    source = _SOURCES.get(own, f"docs/{own}")

    def led(match: re.Match[str]) -> str:
        text, target, anchor = match.group(1), match.group(2), match.group(3) or ""
        if "://" in target or target.startswith("mailto:"):
            return match.group(0)
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        place = OUTSIDE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if place is None or files.get_file_from_path(place) is None:
            # What is not there at all is left to mkdocs, which refuses it.
            return text if (ROOT / path).exists() else match.group(0)
        return f"[{text}]({posixpath.relpath(place, posixpath.dirname(own) or '.')}{anchor})"

    return _LINK.sub(led, markdown)


def with_outputs(markdown: str, notebook: Path) -> str:
    """Put behind each Python block of a tutorial what the cell of its notebook printed and drew."""
    if not notebook.is_file():
        return markdown
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    outputs = iter("".join(map(_shown, cell["outputs"])) for cell in cells if cell["cell_type"] == "code")
    return _PYTHON.sub(lambda match: match.group(0) + next(outputs, ""), markdown)


def _shown(output: dict[str, Any]) -> str:
    """Return what a cell gave out as Markdown; a picture stands in the page itself, as one that a style can't
    reach."""
    if "text" in output:
        return f'\n```text title="prints"\n{"".join(output["text"]).rstrip()}\n```\n'
    picture = base64.b64encode("".join(output["data"]["image/svg+xml"]).encode()).decode()
    return f'\n<img alt="The figure that the block draws" src="data:image/svg+xml;base64,{picture}">\n'


def method_pages() -> Iterator[tuple[str, str]]:
    """Yield a page per method: what its class and its settings say."""
    for path in sorted((ROOT / "das" / "methods").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        bound = next(
            (n for n in tree.body if isinstance(n, ast.Assign) and _name(n.targets[0]) == "METHOD"), None
        )
        if bound is None:
            continue
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        stated = _stated(tree, _name(bound.value))
        name, settings = stated.get("name", path.stem), stated.get("config_class", "")
        text = f"# {name}\n\n{stated.get('summary', '')}\n\n::: {module}.{_name(bound.value)}\n"
        where = _home(tree, settings, module)
        if where is not None:
            text += f"\n## Settings\n\n::: {where}.{settings}\n    options: {{ members: true }}\n"
        yield f"method/{name}.md", text


def gallery() -> str:
    """Return the page of every figure with the page that explains it and the command that draws it."""
    parts = ["# Gallery", "", "`ravel plot RUN` draws the figures of a run of your own.", ""]
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for name, place in _PICTURE.findall(text):
            title = text.partition("\n")[0].removeprefix("# ")
            parts += [f"## {name}", "", f"![{name}]({place})", "", f"From [{title}]({page.name}):", ""]
            parts += ["```bash", drawn_by(place), "```", ""]
    return "\n".join(parts)


def drawn_by(place: str) -> str:
    """Return the command that draws a figure. Raises KeyError for one of which nothing is known."""
    stem = posixpath.basename(place)
    return DRAWN_BY[max((name for name in DRAWN_BY if stem.startswith(name)), key=len, default=stem)]


def _home(tree: ast.Module, name: str, module: str) -> str | None:
    """Return the module in which a class is defined that a module has or imports."""
    if any(isinstance(node, ast.ClassDef) and node.name == name for node in tree.body):
        return module
    imports = (node for node in tree.body if isinstance(node, ast.ImportFrom))
    return next((n.module for n in imports if name in [alias.name for alias in n.names]), None)


def _stated(tree: ast.Module, name: str) -> dict[str, str]:
    """Return what a class states in its body, by name."""
    body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    found = {}
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.Name):
            value = node.value
            found[_name(node.targets[0])] = str(value.value if isinstance(value, ast.Constant) else value.id)
    return found


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def reference() -> str:
    """Return the page of all functions and classes of `evaluation.api`."""
    places = re.findall(
        r'^    "(\w+)": "([\w.]+)",$',
        (ROOT / "evaluation" / "api.py").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    parts = ["# Reference", "", "What `evaluation.api` has, each under the name by which it is defined.", ""]
    parts += [line for place in sorted({place for _, place in places}) for line in (f"::: {place}", "")]
    return "\n".join(parts)
