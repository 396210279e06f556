"""What one suite takes with models of three sizes, as `ravel run --plan` works it out.

Run `python benchmarks/sizing.py [--docs PAGE]`. Nothing is measured: the figures follow from the models'
shapes and an assumed rate, which the plan states. With `--docs` the table is written between the markers
`sizing` of that page.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from measuring import markdown_table, put_between_markers

from evaluation.config.preset import preset_named
from evaluation.suite.forecast.plan import RunPlan, plan_preset

PRESETS = ("sizing-2b", "sizing-8b", "sizing-70b")
HEADER = (
    *("preset", "cells", "passes of a pair", "a cell"),
    *("whole suite, one worker", "a worker", "GPUs of 80 GiB"),
)


def sizing_table() -> str:
    """Return the table as Markdown."""
    return markdown_table(HEADER, [_row(name, plan_preset(name, Path(name))) for name in PRESETS])


def _row(name: str, plan: RunPlan) -> list[str]:
    cost = plan.estimate
    return [
        f"`{name}`: {preset_named(name).shape.parameters / 1e9:.1f} B weights, bfloat16",
        str(cost.cells),
        f"{cost.passes:,.0f}",
        f"{cost.seconds_per_cell / 60:.1f} min",
        f"{cost.seconds / 3600:.1f} h",
        f"{cost.memory / 2**30:.1f} GiB",
        f"{cost.gpus:g}",
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, or write it into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--docs", type=Path, help="a page to write the table into")
    asked = parser.parse_args(argv)
    if asked.docs is not None:
        put_between_markers(asked.docs, {"sizing": sizing_table()})
    print(sizing_table())


if __name__ == "__main__":
    main()
