"""What all cards have in common: names that stay names in Markdown, and front matter; it knows no card."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from evaluation.report.common.templates import filled
from ravel.common.strict_yaml import to_yaml


def filled_card(name: str, meta: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Return the card that a template makes of its front matter and its values."""
    return filled("evaluation.report.cards", f"{name}.md", {**values, "meta": yaml(meta)}, _escaped)


def data_meta(
    title: str, entity_type: str, configs: list[dict[str, Any]], size_category: str | None = None
) -> dict[str, Any]:
    """Return the front matter of data: each of `configs` names files that a hub shows as a table."""
    size = {} if size_category is None else {"size_categories": [size_category]}
    return {
        "pretty_name": one_line(title),
        "license": "other",
        "license_name": "see-provenance",
        **size,
        "tags": tags(entity_type),
        "configs": configs,
    }


def tags(*names: str) -> list[str]:
    """Return the tags of every card, and these."""
    known = ("interpretability", "causal-abstraction", "interchange-intervention", "ravel")
    return [*known, *map(one_line, names)]


def one_line(text: str) -> str:
    """Return text on one line: what ends the front matter is a line of its own, and no name may hold one."""
    return " ".join(text.split())


def yaml(values: Mapping[str, Any]) -> str:
    """Return values as YAML with unbroken lines."""
    return to_yaml(dict(values), width=10_000)


def _escaped(text: str) -> str:
    """Return a name as Markdown that shows it as it is: no markup, no second line."""
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", one_line(text))
