"""What steering brings and costs at each strength, from the validation outcomes of a finished run.

    python benchmarks/steering_curves.py RUN --into docs/steering.md

Writes, between the markers `steering_curves` of the page, cause / isolate / overall at each strength for each
method on held-out templates: shares over prompts, a mean over the steered attributes, at the chosen points.
The last column is the best overall of a strength whose isolate is at least 0.95.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from measuring import put_between_markers  # noqa: E402

from evaluation.records.outcomes.steerings import Steering  # noqa: E402
from evaluation.records.run_folder import RunFolder  # noqa: E402
from evaluation.records.scores import read_scores  # noqa: E402
from evaluation.scoring.mean import mean  # noqa: E402
from evaluation.scoring.steering.estimates import strength_curve  # noqa: E402
from ravel.terms.schema import split_name  # noqa: E402

LEAST_ISOLATE = 0.95
"""Side effects of at most 5 %."""
SPLIT = split_name("context", "val")
Curve = Sequence[Mapping[str, float | None]]


def curves(run: RunFolder) -> dict[str, tuple[tuple[float, ...], list[Curve]]]:
    """Return for each method its strengths, and a curve for each steered attribute."""
    found: dict[str, tuple[tuple[float, ...], list[Curve]]] = {}
    for record in read_scores(run.scores):
        if record.chosen and (record.generalisation, record.partition) == ("context", "val"):
            outcomes = [o for o in Steering.read(run.cell(record.cell).outcomes(SPLIT)) if o.strengths]
            own = [o for o in outcomes if o.target == record.attribute]
            if own:
                found.setdefault(record.method, (own[0].strengths, []))[1].append(strength_curve(own))
    return found


def table(run: RunFolder) -> str:
    """Return the rows of the table in Markdown."""
    found = curves(run)
    strengths = max((own for own, _ in found.values()), key=len)
    head = ["method", *(f"{strength:g}" for strength in strengths), "best at isolate >= 0.95"]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for method, (own, of_attributes) in sorted(found.items()):
        means = {
            strength: {name: mean([c[place][name] for c in of_attributes]) for name in of_attributes[0][0]}
            for place, strength in enumerate(own)
        }
        cells = [_point(means[strength]) if strength in means else "" for strength in strengths]
        mild = [
            point["overall"] or 0.0 for point in means.values() if (point["isolate"] or 0.0) >= LEAST_ISOLATE
        ]
        lines.append("| " + " | ".join([method, *cells, _number(max(mild, default=None))]) + " |")
    return "\n".join(lines) + "\n"


def _point(point: Mapping[str, float | None]) -> str:
    return " / ".join(_number(point[name]) for name in ("cause", "isolate", "overall"))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    put_between_markers(arguments.into, {"steering_curves": table(RunFolder(arguments.run))})


if __name__ == "__main__":
    main()
