"""What a run would do, before it is begun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from evaluation.commands.printing.lines import say
from evaluation.commands.printing.text import print_notes, print_rows

if TYPE_CHECKING:
    from evaluation.suite.forecast.plan import PlannedCell, RunPlan


_LISTED = 60
"""Cells up to which a plan lists each; a longer one is summed up per method."""
_HEADERS = ("method", "attribute", "site", "size", "seed", "finished")


def plan_json(plan: RunPlan) -> dict[str, Any]:
    """Return what `--json` prints of a plan."""
    estimate = plan.estimate
    return {
        "cells": [_row(entry) for entry in plan.cells],
        "estimate": {
            **asdict(estimate),
            "seconds_per_cell": estimate.seconds_per_cell,
            "gpus": estimate.gpus,
        },
        "assumed": plan.assumed,
        "controls": plan.controls,
        "cache": plan.cache.to_json(),
        "build": plan.build,
    }


def print_plan(plan: RunPlan) -> None:
    """Print the cells of a plan, and what they take."""
    if len(plan.cells) <= _LISTED:
        rows = [_row(entry) for entry in plan.cells]
        print_rows(_HEADERS, [[_shown(row[name]) for name in _HEADERS] for row in rows])
    else:
        print_rows(["method", "cells", "finished", "sites", "sizes"], _summed(plan.cells))
    left = sum(not entry.finished for entry in plan.cells)
    say(f"{len(plan.cells)} cells, {left} of them to fit")
    if plan.controls:
        say(f"and {plan.controls} cells of controls, at the points that will be chosen")
    print_notes(
        [
            plan.estimate.sentence(),
            plan.estimate.needs(plan.device),
            *([] if plan.build is None else [plan.build]),
            f"Rate {plan.assumed}. Fits that look at vectors only are not counted.",
            f"Cache of the engine resume: {plan.cache.text()}",
        ]
    )


def _row(entry: PlannedCell) -> dict[str, Any]:
    return {
        "cell": entry.cell.cell_id,
        "method": entry.cell.method,
        "attribute": entry.cell.attribute,
        "site": str(entry.cell.site),
        "size": entry.cell.size,
        "seed": entry.cell.seed,
        "finished": entry.finished,
    }


def _summed(cells: Sequence[PlannedCell]) -> list[list[object]]:
    rows: list[list[object]] = []
    for method in dict.fromkeys(entry.cell.method for entry in cells):
        own = [entry for entry in cells if entry.cell.method == method]
        sizes = sorted({entry.cell.size for entry in own if entry.cell.size is not None})
        rows.append(
            [
                method,
                len(own),
                sum(entry.finished for entry in own),
                len({entry.cell.site for entry in own}),
                ", ".join(map(str, sizes)) or "-",
            ]
        )
    return rows


def _shown(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else value
