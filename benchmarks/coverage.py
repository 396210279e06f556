"""How often 95 % intervals hold the truth, and how often tests find a difference where there is none.

    python benchmarks/coverage.py [--quick] [--sets N] [--json PATH] [--plot PATH] [--doc PAGE]

Outcomes are made up by `simulated.py`, of which the true scores are known, in designs like those of real
instances. Each set of outcomes is scored by the suite's own code; beside its intervals are percentiles of the
pigeonhole bootstrap. Every share has its own 95 % interval (Wilson), for the number of sets is finite.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from measuring import markdown_table, put_between_markers
from pigeonhole import draw_resamples, draws_of, interval, mean_draws, p_value
from simulated import (
    Effects,
    Setting,
    Split,
    answer,
    attribute_names,
    draw_chances,
    draw_counts,
    draw_split,
    scores_of,
    templates_fixed,
)

from evaluation.report.plots.canvas import PAGE, drawing, new_figure, saved
from evaluation.report.plots.style import legend_below
from evaluation.scoring.clusters import Clusters, Counts
from evaluation.scoring.interchange.estimates import estimate_counts
from evaluation.scoring.intervals import Estimates, difference, mean_of
from ravel.common.io import write_json

SCORES = ("cause", "isolate", "disentangle")
LEVEL, LEAST, MOST = 0.95, 0.93, 0.97
RESAMPLES = 400
"""Of the pigeonhole bootstrap beside the intervals."""
NONE = Effects("none", 0.0, 0.0, 0.0)
WEAK = Effects("weak", 0.5, 0.3, 0.3)
STRONG = Effects("strong", 1.0, 0.5, 0.8)
Null = Literal["same chances", "own effects", "nine in ten alike"]
NULLS: tuple[Null, ...] = ("same chances", "own effects", "nine in ten alike")
METHODS_OF_A_RUN = 7
"""Seven methods make 21 comparisons."""


def settings(*, quick: bool) -> list[Setting]:
    """Return the populations and designs to go through."""
    designs = [("context", 6, 200, 3, 256), ("entity", 4, 100, 6, 256), ("large", 5, 400, 12, 96)]
    levels = [(0.5, 0.9), (0.03, 0.99), (0.9, 0.5), (0.99, 0.97)]
    if quick:
        designs, levels = designs[:2], levels[:2]
    every = [
        Setting(*design, cause, isolate, effects)
        for design in designs
        for cause, isolate in levels
        for effects in (NONE, WEAK, STRONG)
    ]
    odd = Setting("context", 6, 200, 3, 256, 0.5, 0.9, STRONG)
    few = [
        replace(odd, design="two templates", templates=2),
        replace(odd, design="one template", templates=1),
        replace(odd, design="one template", templates=1, effects=NONE),
    ]
    if quick:
        return [*every, *few]
    small = [
        replace(odd, design="small", pairs=96, cause=c, isolate=i, effects=effects)
        for c, i in levels[:2]
        for effects in (NONE, STRONG)
    ]
    # A probit effect is about 1.7 times as strong as a logit one.
    bent = Effects("strong", 0.6, 0.3, 0.5)
    probit = [
        replace(
            odd,
            design=f"{design[0]}, probit",
            templates=design[3],
            entities=design[2],
            effects=bent,
            link="probit",
        )
        for design in designs[:2]
    ]
    return [*every, *small, *probit, *few]


def estimated(counts: Counts, setting: Setting, clusters: Clusters, target: int = 0) -> Estimates:
    """Return the scores of counted outcomes with what their intervals come from."""
    point = scores_of(counts, setting, target)
    return estimate_counts(counts, point, attribute_names(setting)[target], clusters)


def measure_coverage(setting: Setting, sets: int, percentile_sets: int, seed: int) -> dict[str, Any]:
    """Return, for each score, how often and how widely its intervals hold the truth of a setting."""
    stream = np.random.default_rng([seed, 1])
    found: dict[str, list[dict[str, float]]] = {score: [] for score in SCORES}
    for number in range(sets):
        split = draw_split(setting, stream)
        counts, chances = draw_counts(setting, split, stream)
        resampled = number < percentile_sets
        drawn = draw_resamples(split.clusters, RESAMPLES if resampled else 0, stream)
        fixed = templates_fixed(setting, chances)
        ours = estimated(counts, setting, split.clusters)
        draws = draws_of(counts, attribute_names(setting)[0], drawn)
        for score in SCORES:
            truth = getattr(setting.truth, score)
            row = _held("", ours[score].interval, truth)
            row |= _held("fixed_", ours[score].interval, getattr(fixed, score))
            if resampled:
                row |= _held("percentile_", interval(getattr(draws, score)), truth)
            found[score].append(row)
    return asdict(setting) | {"scores": {score: _summary(rows) for score, rows in found.items()}}


def _held(prefix: str, ends: tuple[float, float] | None, truth: float) -> dict[str, float]:
    if ends is None:
        return {f"{prefix}missing": 1.0}
    held = ends[0] - 1e-12 <= truth <= ends[1] + 1e-12
    return {f"{prefix}held": float(held), f"{prefix}width": ends[1] - ends[0], f"{prefix}missing": 0.0}


def _summary(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for prefix in ("", "fixed_", "percentile_"):
        held = [row[f"{prefix}held"] for row in rows if f"{prefix}held" in row]
        tried = [row[f"{prefix}missing"] for row in rows if f"{prefix}missing" in row]
        result[f"{prefix}coverage"] = share(sum(held), len(held))
        result[f"{prefix}width"] = float(
            np.mean([row[f"{prefix}width"] for row in rows if f"{prefix}width" in row])
        )
        result[f"{prefix}missing"] = float(np.mean(tried))
    return result


def share(count: float, number: int) -> dict[str, float]:
    """Return a share with its 95 % interval (Wilson)."""
    z = 1.959964
    value = count / number
    middle, half = (
        value + z * z / 2 / number,
        z * math.sqrt(value * (1 - value) / number + (z / 2 / number) ** 2),
    )
    whole = 1 + z * z / number
    low, high = min(value, (middle - half) / whole), max(value, (middle + half) / whole)
    return {"value": value, "low": max(0.0, low), "high": min(1.0, high), "of": number}


def measure_errors(
    setting: Setting, null: Null, targets: int, sets: int, percentile_sets: int, seed: int
) -> dict[str, Any]:
    """Return how often two methods of equal expected scores are found to differ in disentangle."""
    stream = np.random.default_rng([seed, 2])
    ours, before, macro = [], [], []
    names = attribute_names(setting)
    for number in range(sets):
        split = draw_split(setting, stream)
        drawn = draw_resamples(split.clusters, RESAMPLES if number < percentile_sets else 0, stream)
        pairs = [two_methods(setting, split, null, target, stream) for target in range(targets)]
        first, second = (
            mean_of([estimated(p[side], setting, split.clusters, target) for target, p in enumerate(pairs)])
            for side in (0, 1)
        )
        minus = difference(first, second)
        low, high = _ends(first, LEVEL)
        # p is below 0.05 exactly then.
        ours.append(_outside(minus, LEVEL))
        macro.append(low <= setting.truth.disentangle <= high)
        if number < percentile_sets:
            draws = [
                mean_draws(
                    [draws_of(p[side], names[target], drawn).disentangle for target, p in enumerate(pairs)]
                )
                for side in (0, 1)
            ]
            normal = p_value(minus["disentangle"].value, draws[0] - draws[1])
            before.append(normal is not None and normal < 1 - LEVEL)
    return asdict(setting) | {
        "null": null,
        "targets": targets,
        "rejected": share(sum(ours), sets),
        "bootstrap_rejected": share(sum(before), len(before)),
        "average_coverage": share(sum(macro), sets),
    }


def two_methods(
    setting: Setting, split: Split, null: Null, target: int, stream: np.random.Generator
) -> tuple[Counts, Counts]:
    """Draw the outcomes of two methods between which there is no difference in expectation."""
    chances = draw_chances(setting, split, target, stream)
    first = answer(setting, split, chances, stream)
    other = draw_chances(setting, split, target, stream) if null == "own effects" else chances
    second = answer(setting, split, other, stream)
    if null == "nine in ten alike":
        alike = stream.random(split.pairs.shape) < 0.9
        second = Counts(split.pairs, np.where(alike, first.right, second.right))
    return first, second


def measure_families(setting: Setting, sets: int, seed: int) -> dict[str, Any]:
    """Return how often Holm's adjustment lets any of a run's comparisons pass, all methods being equal."""
    stream = np.random.default_rng([seed, 3])
    comparisons = METHODS_OF_A_RUN * (METHODS_OF_A_RUN - 1) // 2
    any_found = any_unadjusted = 0
    for _ in range(sets):
        split = draw_split(setting, stream)
        methods = [
            estimated(draw_counts(setting, split, stream)[0], setting, split.clusters)
            for _ in range(METHODS_OF_A_RUN)
        ]
        differences = [difference(a, b) for a, b in combinations(methods, 2)]
        any_unadjusted += any(_outside(minus, LEVEL) for minus in differences)
        # Holm lets something pass exactly if the smallest p, times their number, is small enough.
        any_found += any(_outside(minus, 1 - (1 - LEVEL) / comparisons) for minus in differences)
    return asdict(setting) | {
        "comparisons": comparisons,
        "adjusted": share(any_found, sets),
        "unadjusted": share(any_unadjusted, sets),
    }


def _ends(scored: Estimates, level: float) -> tuple[float, float]:
    both = scored["disentangle"]
    assert both.spread is not None
    assert both.value is not None
    return both.spread.limits(both.value, level)


def _outside(minus: Estimates, level: float) -> bool:
    low, high = _ends(minus, level)
    return not low <= 0 <= high


def run(*, quick: bool, sets: int | None = None, seed: int = 0) -> dict[str, Any]:
    """Measure everything."""
    sets = sets or (300 if quick else 2000)
    percentile_sets = max(1, sets // 4)
    every = settings(quick=quick)
    compared = [
        s
        for s in every
        if s.design in ("context", "entity") and (s.cause, s.isolate) in ((0.5, 0.9), (0.03, 0.99))
    ]
    compared = [s for s in compared if s.effects != WEAK]
    cases = [(s, null) for s in compared for null in NULLS if s.effects != NONE or null != "own effects"]
    coverage = []
    for number, setting in enumerate(every):
        print(f"coverage {number + 1} of {len(every)}: {_name(setting)}", file=sys.stderr, flush=True)
        coverage.append(measure_coverage(setting, sets, percentile_sets, seed))
    errors = []
    for setting, null in cases:
        # An average over targets is what a run compares.
        for targets in (1, 4) if setting.effects == STRONG else (1,):
            print(f"errors: {_name(setting)}, {null}, {targets} targets", file=sys.stderr, flush=True)
            fewer = max(1, sets // 3), max(1, percentile_sets // 3)
            errors.append(measure_errors(setting, null, targets, *fewer, seed))
    families = [measure_families(s, max(1, sets // 6), seed) for s in compared if s.effects == STRONG]
    return {
        "schema_version": 1,
        "quick": quick,
        "sets": sets,
        "percentile_sets": percentile_sets,
        "resamples": RESAMPLES,
        "environment": {"python": platform.python_version(), "numpy": np.__version__},
        "coverage": coverage,
        "errors": errors,
        "families": families,
    }


def _name(setting: Setting) -> str:
    return f"{setting.design}, {setting.cause:g} / {setting.isolate:g}, {setting.effects.name}"


def pages(found: dict[str, Any]) -> dict[str, str]:
    """Return Markdown by the name of the markers that it stands between."""
    kind = "A quick run. " if found["quick"] else ""
    where = found["environment"]
    head = (
        f"{kind}{found['sets']:,} sets of outcomes a row, {found['percentile_sets']:,} for the bootstrap "
        f"with {found['resamples']} resamples; Python {where['python']}, numpy {where['numpy']}. In "
        "brackets, the 95 % interval of the share itself.\n\n"
    )
    return {
        "verdict": _verdict(found),
        "coverage": head + _coverage_table(found["coverage"]),
        "widths": _width_table(found["coverage"]),
        "errors": _sets_of(found["errors"][0]["rejected"]) + _error_table(found["errors"]),
        "families": _sets_of(found["families"][0]["adjusted"]) + _family_table(found["families"]),
    }


def _sets_of(found: dict[str, float]) -> str:
    return f"{found['of']:,} sets of outcomes a row.\n\n"


def _verdict(found: dict[str, Any]) -> str:
    rows = []
    groups = {
        "all settings but those of one template": lambda s: s["templates"] > 1,
        "templates differ (weak or strong effects)": lambda s: (
            s["templates"] > 1 and s["effects"]["template"] > 0
        ),
        "templates don't differ": lambda s: s["templates"] > 1 and s["effects"]["template"] == 0,
        "one template, which differs from others": lambda s: (
            s["templates"] == 1 and s["effects"]["template"] > 0
        ),
    }
    for name, chosen in groups.items():
        cells = [s["scores"][score] for s in found["coverage"] if chosen(s) for score in SCORES]
        for label, key in (
            ("components of variance", "coverage"),
            ("percentiles of the bootstrap", "percentile_coverage"),
        ):
            shares = [cell[key] for cell in cells]
            values = [s["value"] for s in shares]
            # A share that is only by chance outside is counted as inside.
            below = sum(s["high"] < LEAST for s in shares)
            inside = sum(LEAST <= value <= MOST for value in values)
            above = sum(s["low"] > MOST for s in shares)
            rows.append(
                [
                    name,
                    label,
                    str(len(values)),
                    _percent(min(values)),
                    _percent(float(np.mean(values))),
                    _percent(max(values)),
                    str(inside),
                    str(below),
                    str(above),
                ]
            )
    header = ["settings", "intervals", "scores", "lowest", "mean", "highest", "from 93 to 97 % as counted"]
    header += ["surely below 93 %", "surely above 97 %"]
    return markdown_table(header, rows)


def _coverage_table(rows: Sequence[dict[str, Any]]) -> str:
    header = [
        "design",
        "templates",
        "cause / isolate",
        "effects",
        *SCORES,
        *(f"bootstrap {score}" for score in SCORES),
    ]
    table = []
    for row in rows:
        cells = [_bracketed(row["scores"][score]["coverage"]) for score in SCORES]
        cells += [_bracketed(row["scores"][score]["percentile_coverage"]) for score in SCORES]
        table.append(
            [
                row["design"],
                str(row["templates"]),
                f"{row['cause']:g} / {row['isolate']:g}",
                row["effects"]["name"],
                *cells,
            ]
        )
    return markdown_table(header, table)


def _width_table(rows: Sequence[dict[str, Any]]) -> str:
    header = ["design", "templates", "cause / isolate", "effects"]
    header += [
        *SCORES,
        *(f"bootstrap {score}" for score in SCORES),
        "these templates: cause",
        "isolate",
        "missing",
    ]
    table = []
    for row in rows:
        scores = [row["scores"][score] for score in SCORES]
        cells = [f"{score['width']:.3f}" for score in scores] + [
            f"{score['percentile_width']:.3f}" for score in scores
        ]
        cells += [_percent(score["fixed_coverage"]["value"]) for score in scores[:2]]
        cells.append(_percent(max(score["missing"] for score in scores)))
        table.append(
            [
                row["design"],
                str(row["templates"]),
                f"{row['cause']:g} / {row['isolate']:g}",
                row["effects"]["name"],
                *cells,
            ]
        )
    return markdown_table(header, table)


def _error_table(rows: Sequence[dict[str, Any]]) -> str:
    header = [
        "design",
        "cause / isolate",
        "effects",
        "two methods have",
        "targets",
        "p < 0.05",
    ]
    header += ["bootstrap, normal tail", "interval of the average covers"]
    table = [
        [
            row["design"],
            f"{row['cause']:g} / {row['isolate']:g}",
            row["effects"]["name"],
            row["null"],
            str(row["targets"]),
            _bracketed(row["rejected"]),
            _bracketed(row["bootstrap_rejected"]),
            _bracketed(row["average_coverage"]),
        ]
        for row in rows
    ]
    return markdown_table(header, table)


def _family_table(rows: Sequence[dict[str, Any]]) -> str:
    header = ["design", "cause / isolate", "effects", "comparisons", "any adjusted p < 0.05", "any p < 0.05"]
    table = [
        [
            row["design"],
            f"{row['cause']:g} / {row['isolate']:g}",
            row["effects"]["name"],
            str(row["comparisons"]),
            _bracketed(row["adjusted"]),
            _bracketed(row["unadjusted"]),
        ]
        for row in rows
    ]
    return markdown_table(header, table)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _bracketed(found: dict[str, float]) -> str:
    return f"{_percent(found['value'])} [{_percent(found['low'])}, {_percent(found['high'])}]"


def draw(found: dict[str, Any], stem: Path) -> None:
    """Draw coverage of each score in every setting, with the band it should be in."""
    rows = found["coverage"]
    with drawing():
        figure = new_figure(PAGE, 1.2 + 0.13 * len(rows))
        for axes, score in zip(figure.subplots(1, 3, sharex=True, sharey=True), SCORES, strict=True):
            axes.axvspan(100 * LEAST, 100 * MOST, color="#dddddd", linewidth=0)
            _dots(
                axes,
                [row["scores"][score]["percentile_coverage"] for row in rows],
                "#e69f00",
                0.2,
                "bootstrap percentiles",
            )
            _dots(
                axes,
                [row["scores"][score]["coverage"] for row in rows],
                "#0072b2",
                -0.2,
                "components of variance",
            )
            axes.set_title(score)
            axes.set_xlabel("coverage, %")
        figure.axes[0].set_yticks(range(len(rows)), [_label(row) for row in rows])
        figure.axes[0].set_ylim(len(rows), -1)
        legend_below(figure)
        saved(figure, stem.with_suffix(""))


def _label(row: dict[str, Any]) -> str:
    return f"{row['design']}, {row['cause']:g} / {row['isolate']:g}, {row['effects']['name']}"


def _dots(axes: Any, shares: Sequence[dict[str, float]], colour: str, shift: float, label: str) -> None:
    values = [100 * s["value"] for s in shares]
    errors = [
        [100 * (s["value"] - s["low"]) for s in shares],
        [100 * (s["high"] - s["value"]) for s in shares],
    ]
    places = [place + shift for place in range(len(shares))]
    axes.errorbar(
        values, places, xerr=errors, fmt="o", markersize=2.0, linewidth=0.6, color=colour, label=label
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer settings and sets, about a minute")
    parser.add_argument("--sets", type=int, help="sets of outcomes a setting, 300 or 2000 unless given")
    parser.add_argument("--seed", type=int, default=0, help="root of the random streams")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--plot", type=Path, help="draw them to this path, as PNG, SVG and PDF")
    parser.add_argument("--doc", type=Path, help="write the tables between the markers of this page")
    parser.add_argument("--from-json", type=Path, help="measure nothing: tables and plot of an earlier run")
    return parser.parse_args()


def main() -> None:
    """Measure, print and write."""
    arguments = _arguments()
    if arguments.from_json is not None:
        found = json.loads(arguments.from_json.read_text(encoding="utf-8"))
    else:
        found = run(quick=arguments.quick, sets=arguments.sets, seed=arguments.seed)
    texts = pages(found)
    print("\n".join(texts.values()))
    if arguments.json is not None:
        write_json(arguments.json, found)
    if arguments.plot is not None:
        draw(found, arguments.plot)
    if arguments.doc is not None:
        put_between_markers(arguments.doc, texts)


if __name__ == "__main__":
    main()
