"""What there is of entity types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.commands.printing.lines import say
from evaluation.commands.printing.text import print_rows
from ravel.terms.schema import PARTITIONS


def print_types(types: Sequence[Mapping[str, Any]]) -> None:
    """Print a row per type: how much of it is bundled, and its attributes."""
    rows = [
        [
            row["name"],
            f"{row['entities']} entities, {row['templates']} templates" if row["bundled"] else "no",
            "yes" if row["release"] else "no",
            ", ".join(row["attributes"]),
        ]
        for row in types
    ]
    print_rows(["type", "bundled", "in the release", "attributes"], rows)


def print_type(shown: Mapping[str, Any]) -> None:
    """Print a type: counts by partition, and an example of everything."""
    say(f"{shown['name']}: {shown['description']}")
    say(f"licence: {shown['licence']}")
    say(f"entities: {_partitions(shown['entities'])}; for example {shown['example_entity']}")
    say(f"attribute-free texts: {_partitions(shown['attribute_free'])}")
    print_rows(
        ["attribute", "values", "templates", "example value", "example template"],
        [
            [
                a["name"],
                a["distinct_values"],
                _partitions(a["templates"]),
                a["example"],
                a["example_template"],
            ]
            for a in shown["attributes"]
        ],
    )


def _partitions(counts: dict[str, int]) -> str:
    return f"{sum(counts.values())} ({'/'.join(str(counts[p]) for p in PARTITIONS)})"
