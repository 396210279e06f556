"""The plots of a run as SVG that can stand inside a page: cleaned by an allow-list, ids unique; it draws
nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from xml.etree import ElementTree

from ravel.common.io import read_text

_MOST_BYTES = 2_000_000
"""What all drawings may take together; further ones are named only."""
_ELEMENTS = frozenset(
    (
        *("svg", "g", "defs", "use", "symbol", "title", "desc", "text", "tspan", "image"),
        *("path", "rect", "circle", "ellipse", "line", "polyline", "polygon"),
        *("clipPath", "mask", "pattern", "marker", "linearGradient", "radialGradient", "stop"),
    )
)
_DROPPED_FROM_ROOT = ("width", "height", "id", "class", "version")
_CAPTIONS = (
    (
        "cause_isolate",
        "Cause against isolate: up and right is better, the dashed line is doing nothing",
    ),
    ("sizes", "Scores over the number of swapped coordinates"),
    ("layers", "Scores over the layers"),
    ("entanglement", "Entanglement: what else changed when one attribute was swapped"),
    ("angles", "Angles between the subspaces of different attributes and seeds"),
    ("training", "Training curves"),
)


_THEMED = {
    "#000000": "currentColor",
    "#ffffff": "var(--card)",
    "#d0d0d0": "var(--line)",
    "#dadada": "var(--line)",
    "#e4e4e4": "var(--tint)",
    "#e8eef4": "var(--accent-tint)",
    "#767676": "var(--soft)",
}
"""Ink, paper and greys of drawings, and what the page calls them, so that they follow its theme."""
_TIP = "tip:"


@dataclass(frozen=True, slots=True)
class Drawing:
    """One plot."""

    name: str
    """Stem of its file."""
    caption: str
    """What it shows."""
    svg: str
    """Clean SVG; empty if the plot could not be taken in."""
    note: str
    """Why not, if so."""


def read_drawings(folder: Path) -> tuple[Drawing, ...]:
    """Read every SVG of a folder, that of the methods first, with the caption that lies beside it; none if
    there is no folder."""
    drawings, used = [], 0
    for number, path in enumerate(sorted(folder.glob("*.svg"), key=_order)):
        written = path.with_suffix(".txt")
        caption = read_text(written).strip() if written.is_file() else _caption(path.stem)
        try:
            svg = inline_svg(read_text(path), prefix=f"plot{number}-", label=caption)
        except ElementTree.ParseError as error:
            drawings.append(Drawing(path.stem, caption, "", f"plots/{path.name} is no SVG ({error})"))
            continue
        if used + len(svg) > _MOST_BYTES:
            note = f"left out for its size; it lies in plots/{path.name}"
            drawings.append(Drawing(path.stem, caption, "", note))
            continue
        used += len(svg)
        drawings.append(Drawing(path.stem, caption, svg, ""))
    return tuple(drawings)


def inline_svg(text: str, *, prefix: str, label: str) -> str:
    """Return an SVG file as markup for the middle of a page.

    Ids get the prefix; black, white and greys become those of the page's theme. Style sheets, scripts, event
    handlers, unknown elements and references to anything outside the drawing are dropped. Raises
    ElementTree.ParseError for what is no XML.
    """
    root = ElementTree.fromstring(text)
    if _local(root.tag) != "svg":
        raise ElementTree.ParseError(f"the root element is {_local(root.tag)}")
    for name in _DROPPED_FROM_ROOT:
        root.attrib.pop(name, None)
    # matplotlib sets these two for everything by a style sheet, which would reach the whole page.
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt; fill: currentColor")
    root.set("role", "img")
    root.set("aria-label", label)
    root.tail = None
    return _markup(root, prefix)


def _order(path: Path) -> tuple[int, str]:
    beginnings = [beginning for beginning, _ in _CAPTIONS if path.stem.startswith(beginning)]
    known = [beginning for beginning, _ in _CAPTIONS]
    return known.index(beginnings[0]) if beginnings else len(known), path.stem


def _caption(stem: str) -> str:
    for beginning, caption in _CAPTIONS:
        if stem.startswith(beginning):
            rest = stem[len(beginning) :].replace("_", " ").strip()
            return f"{caption} ({rest})" if rest else caption
    return stem.replace("_", " ")


def _local(tag: object) -> str:
    # Comments and processing instructions have a function in place of a name.
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _markup(node: ElementTree.Element, prefix: str) -> str:
    name, tail = _local(node.tag), escape(node.tail or "", quote=False)
    if name not in _ELEMENTS:
        return tail
    attributes = "".join(_attribute(name, key, value, prefix) for key, value in node.attrib.items())
    inner = escape(node.text or "", quote=False) + "".join(_markup(child, prefix) for child in node)
    return f"<{name}{attributes}>{inner.strip() if name != 'text' else inner}</{name}>{tail.strip()}"


def _attribute(element: str, key: str, value: str, prefix: str) -> str:
    name = _local(key)
    if name == "href":
        value = _reference(element, value, prefix)
    elif name == "id" and value.startswith(_TIP):
        name, value = "data-tip", value.removeprefix(_TIP)
    elif name == "id":
        value = prefix + value
    elif name.lower().startswith("on") or name == "class" or "javascript:" in value.lower():
        return ""
    else:
        value = re.sub(r"url\(\s*['\"]?#([^)'\"]*)['\"]?\s*\)", rf"url(#{prefix}\1)", value)
        value = re.sub(r"#[0-9a-f]{6}\b", lambda found: _THEMED.get(found[0], found[0]), value)
        if re.search(r"url\((?!#)|@import|expression\(|\\", value, re.IGNORECASE):
            return ""
    return f' {name}="{escape(value)}"' if value else ""


def _reference(element: str, value: str, prefix: str) -> str:
    if value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    return value if element == "image" and value.startswith("data:image/png;base64,") else ""
