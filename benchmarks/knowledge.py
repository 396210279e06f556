"""How well an answer's sharpness in context tells whether it is right, beside the model's own confidence.

    python benchmarks/knowledge.py [--quick] [--model NAME] [--entity-type TYPE] [--entities N] [--json PATH]
        [--doc PAGE --marker NAME] [--plot PATH]

It is `ravel knowledge`, with states raw as published and after the model's last norm. One thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import environment, markdown_table, put_between_markers

from das.models.load import BUNDLED
from das.threads import one_thread
from evaluation.config.target import TargetConfig
from evaluation.report.plots.canvas import drawing, new_figure, saved
from evaluation.validity.knowledge import SIGNS, KnowledgeConfig, KnowledgeRow, knowledge
from ravel.common.io import write_json
from ravel.facts.sources import BUNDLED as BUNDLED_FACTS


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few entities: to see that it runs")
    parser.add_argument("--model", default=BUNDLED, help="as for `ravel knowledge`")
    parser.add_argument("--entity-type", default="city", help="as in `ravel data list`")
    parser.add_argument("--entities", type=int, default=200, help="of each partition at most")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--doc", type=Path, help="put the tables into this page")
    parser.add_argument("--marker", default="knowledge", help="where in the page")
    parser.add_argument("--plot", type=Path, help="draw the areas there")
    asked = parser.parse_args(argv)
    entities = 12 if asked.quick else asked.entities
    found: dict[str, list[KnowledgeRow]] = {}
    with one_thread():
        start = time.perf_counter()
        for name, final_norm in (("raw", False), ("normed", True)):
            config = KnowledgeConfig(entities=entities, final_norm=final_norm)
            target = TargetConfig(model=asked.model)
            found[name] = knowledge(BUNDLED_FACTS, asked.entity_type, target, config)
        seconds = time.perf_counter() - start
    tables = {f"{asked.marker}-{name}": table_of(rows) for name, rows in found.items()}
    print(*tables.values(), f"{seconds:.0f} s", sep="\n")
    if asked.json is not None:
        rows = {name: [row.to_json() for row in of_norm] for name, of_norm in found.items()}
        write_json(asked.json, {"environment": environment("cpu"), "seconds": seconds, **rows})
    if asked.plot is not None:
        draw(found["raw"], asked.plot.with_suffix(""))
    if asked.doc is not None:
        put_between_markers(asked.doc, tables)


def table_of(rows: Sequence[KnowledgeRow]) -> str:
    """Return the table of all attributes."""
    cells = [
        [
            row.attribute,
            f"{row.n_right} of {row.n}",
            "-" if row.layer is None else str(row.layer),
            *(with_interval(row.areas[name], row.intervals[name]) for name in SIGNS),
            with_interval(row.gain, row.gain_interval, sign="+"),
        ]
        for row in rows
    ]
    header = ("attribute", "right", "layer", *(name.replace("_", " ") for name in SIGNS), "gain")
    return markdown_table(header, cells)


def with_interval(value: float | None, interval: Any, *, sign: str = "") -> str:
    """Return a number with its interval."""
    if value is None or interval is None:
        return "-"
    return f"{value:{sign}.3f} ({interval[0]:{sign}.3f} to {interval[1]:{sign}.3f})"


def draw(rows: Sequence[KnowledgeRow], path: Path) -> None:
    """Draw the area of each sign, attribute by attribute."""
    shown = [row for row in rows if row.gain is not None]
    with drawing():
        figure = new_figure(6.0, 2.8)
        axes = figure.subplots()
        for place, name in enumerate(SIGNS):
            values = [row.areas[name] or 0.0 for row in shown]
            intervals = [row.intervals[name] or (0.0, 1.0) for row in shown]
            errors = [
                [value - low for value, (low, _) in zip(values, intervals, strict=True)],
                [high - value for value, (_, high) in zip(values, intervals, strict=True)],
            ]
            where = [i + 0.15 * (place - 1.5) for i in range(len(shown))]
            axes.errorbar(where, values, errors, fmt="o", capsize=2, label=name.replace("_", " "))
        axes.axhline(0.5, color="grey", linewidth=0.8)
        axes.set_xticks(range(len(shown)), [row.attribute for row in shown])
        axes.set_ylabel("area under the curve")
        axes.legend(ncols=2)
        saved(figure, path)


if __name__ == "__main__":
    main()
