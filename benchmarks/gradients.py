"""How well neurons are ranked by each gradient, and what its way back costs, on the bundled model.

    python benchmarks/gradients.py [--quick] [--instance FOLDER] [--json PATH] [--doc PAGE] [--plot PATH]

Every attribute of city: the neurons that `neurons_attribution` ranks highest with each gradient are swapped
at two depths, and judged on validation pairs of held-out templates and of held-out entities; no test pair is
read. Shares are means over attributes, with 95 % intervals over entities and templates. Seconds are of the
same batch of pairs, forward and back, with the plain gradient and with gim in turn. One thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from cases import Case, Plan, bundled_case
from measuring import KeepingWorkspace, environment, markdown_table, median, put_between_markers

from das.engine import make_engine
from das.engine.base.protocol import Engine
from das.engine.engines.resume import ResumeEngine
from das.featurizers.masked import MaskedBasis
from das.gradients.context import backward_rules
from das.gradients.rules import GIM, PLAIN, BackwardRules
from das.methods.common.attribution import Gradient, attribution_pairs
from das.methods.common.base import Problem
from das.methods.common.contrast import answer_difference
from das.methods.neurons.neurons_attribution import NeuronsAttribution, NeuronsAttributionConfig
from das.sites import Site
from das.threads import one_thread
from evaluation.judging.judge import judge
from evaluation.report.plots.canvas import drawing, new_figure, saved
from evaluation.scoring.clusters import clusters_of
from evaluation.scoring.interchange.estimates import estimate_scores
from evaluation.scoring.intervals import Estimate, difference, mean_of
from ravel.common.io import write_json

GRADIENTS: tuple[Gradient, ...] = get_args(Gradient)
SIZES = (8, 24, 64)
SPLITS = {"context": "context_val", "entity": "entity_val"}
MEASURES = ("cause", "isolate", "disentangle")
PAIRS = 128


def scored(
    case: Case, engine: Engine, site: Site, gradient: Gradient, size: int, workspace: KeepingWorkspace
) -> dict[str, Any]:
    """Return the mean over attributes of each measure, per split."""
    method = NeuronsAttribution(NeuronsAttributionConfig(gradient=gradient))
    fitted = {
        attribute: method.fit(
            Problem(case.instance.without_test(), attribute, site, size, 0), engine, workspace
        )
        for attribute in case.instance.attributes
    }
    found = {}
    for name, split in SPLITS.items():
        clusters = clusters_of(case.instance.pairs(split))
        parts = []
        for attribute, featurizer in fitted.items():
            outcomes = judge(case.instance, split, engine, site, featurizer, tolerance=False)
            parts.append(estimate_scores(outcomes, attribute, clusters))
        found[name] = mean_of(parts)
    return found


def quality(case: Case, engine: Engine) -> list[dict[str, Any]]:
    """Return a row for each site, split, size and gradient, with the difference from the plain gradient."""
    rows, workspace = [], KeepingWorkspace()
    for layer in (0, case.target.n_layers // 2):
        for size in SIZES:
            by_gradient = {g: scored(case, engine, Site(layer), g, size, workspace) for g in GRADIENTS}
            for split in SPLITS:
                for gradient, found in by_gradient.items():
                    less = difference(found[split], by_gradient["plain"][split])
                    row = {"layer": layer, "split": split, "size": size, "gradient": gradient}
                    row |= {name: plainly(found[split][name]) for name in MEASURES}
                    row["beyond plain"] = {name: plainly(less[name]) for name in MEASURES}
                    rows.append(row)
                    print(row_of(row), flush=True)
    return rows


def plainly(estimate: Estimate) -> dict[str, Any]:
    """Return an estimate as JSON has it."""
    interval = None if estimate.interval is None else list(estimate.interval)
    return {"value": estimate.value, "interval": interval}


def way_and_back(pairs: list[Any], engine: Engine, site: Site, rules: BackwardRules) -> tuple[float, float]:
    """Return the seconds of the way through the model and of the way back, for one mask of all neurons."""
    mask = torch.zeros(engine.target.d_model, requires_grad=True)
    with backward_rules(engine.target, rules):
        start = time.perf_counter()
        total = answer_difference(pairs, engine, site, MaskedBasis(mask)).sum()
        middle = time.perf_counter()
        torch.autograd.grad(total, mask)
        return middle - start, time.perf_counter() - middle


def costs(case: Case, repeats: int) -> list[dict[str, Any]]:
    """Return the median seconds of each engine's ways, plain and gim in turn."""
    attribute, site = case.instance.attributes[0], case.site
    pairs = attribution_pairs(case.instance.without_test(), attribute, limit=PAIRS, seed=0)
    rows = []
    for engine in (ResumeEngine(case.target), make_engine("direct", case.target)):
        way_and_back(pairs, engine, site, PLAIN)
        seconds: dict[str, list[tuple[float, float]]] = {"plain": [], "gim": []}
        for _ in range(repeats):
            for name, rules in (("plain", PLAIN), ("gim", GIM)):
                seconds[name].append(way_and_back(pairs, engine, site, rules))
        row: dict[str, Any] = {"engine": engine.name, "pairs": len(pairs), "repeats": repeats}
        for name, both in seconds.items():
            row[f"{name} forward"] = median([forward for forward, _ in both])
            row[f"{name} back"] = median([back for _, back in both])
        row["back, gim to plain"] = row["gim back"] / row["plain back"]
        whole = {name: row[f"{name} forward"] + row[f"{name} back"] for name in seconds}
        row["both ways, gim to plain"] = whole["gim"] / whole["plain"]
        rows.append(row)
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few pairs: to see that it runs")
    parser.add_argument("--instance", type=Path, help="an instance of the bundled model, else one is built")
    parser.add_argument("--repeats", type=int, default=15, help="timed turns of each gradient (default 15)")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--doc", type=Path, help="put the tables into this page")
    parser.add_argument("--plot", type=Path, help="draw cause against size there")
    asked = parser.parse_args(argv)
    plan = Plan(60, 24, 30, 8, 1) if asked.quick else Plan(1000, 128, 400, 8, 1, attributes=None)
    with one_thread():
        case = bundled_case(plan, folder=asked.instance)
        cost = costs(case, 3 if asked.quick else asked.repeats)
        tables = {"gradient-cost": cost_table(cost)}
        print(tables["gradient-cost"], flush=True)
        rows = quality(case, ResumeEngine(case.target))
    header = ("layer, held-out, neurons, gradient", *MEASURES, "cause beyond plain")
    tables["gradient-quality"] = markdown_table(header, [row_of(row) for row in rows])
    if asked.json is not None:
        write_json(asked.json, {"environment": environment("cpu"), "costs": cost, "rows": rows})
    if asked.plot is not None:
        draw(rows, asked.plot.with_suffix(""))
    if asked.doc is not None:
        put_between_markers(asked.doc, tables)


def row_of(row: dict[str, Any]) -> list[str]:
    """Return the cells of a row of the table of quality."""
    what = "templates" if row["split"] == "context" else "entities"
    less = row["beyond plain"]["cause"]
    beyond = "" if row["gradient"] == "plain" else f"{less['value']:+.3f} {between(less['interval'])}"
    first = f"{row['layer']}, {what}, {row['size']}, {row['gradient']}"
    return [
        first,
        *(f"{row[name]['value']:.3f} {between(row[name]['interval'])}" for name in MEASURES),
        beyond,
    ]


def between(interval: Sequence[float] | None) -> str:
    """Return an interval in brackets."""
    return "" if interval is None else f"({interval[0]:.3f} to {interval[1]:.3f})"


def cost_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of seconds."""
    ways = [f"{name} {way}" for name in ("plain", "gim") for way in ("forward", "back")]
    ratios = ("back, gim to plain", "both ways, gim to plain")
    cells = [
        [
            f"{row['engine']}, {row['pairs']} pairs",
            *(f"{1000 * row[way]:.0f} ms" for way in ways),
            *(f"{row[ratio]:.2f}" for ratio in ratios),
        ]
        for row in rows
    ]
    return markdown_table(("engine", *ways, *ratios), cells)


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw cause against the number of neurons, a panel per layer and split."""
    layers = sorted({row["layer"] for row in rows})
    with drawing():
        figure = new_figure(3.2 * len(layers) * len(SPLITS), 3.2)
        panels = figure.subplots(1, len(layers) * len(SPLITS), sharey=True)
        places = [(layer, split) for layer in layers for split in SPLITS]
        for panel, (layer, split) in zip(panels, places, strict=True):
            for gradient, shift in zip(GRADIENTS, (0.94, 1.0, 1.06), strict=True):
                own = [r for r in rows if (r["layer"], r["split"], r["gradient"]) == (layer, split, gradient)]
                values = [row["cause"]["value"] for row in own]
                lows, highs = zip(*(row["cause"]["interval"] for row in own), strict=True)
                errors = [
                    [v - low for v, low in zip(values, lows, strict=True)],
                    [high - v for v, high in zip(values, highs, strict=True)],
                ]
                sizes = [row["size"] * shift for row in own]
                panel.errorbar(sizes, values, errors, marker="o", capsize=2, label=gradient)
            panel.set_xscale("log", base=2)
            panel.set_xticks(SIZES, [str(size) for size in SIZES])
            panel.set_xlabel("neurons")
            panel.set_title(f"layer {layer}, {'templates' if split == 'context' else 'entities'}")
        panels[0].set_ylabel("cause")
        panels[0].legend()
        saved(figure, path)


if __name__ == "__main__":
    main()
