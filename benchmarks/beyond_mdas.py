"""Disentangle against passes of the model: MDAS at several costs beside emulated_mdas, on the bundled model;
with `--rivals` methods that train something else than one subspace; with `--planted` the angle to the truth.

    python benchmarks/beyond_mdas.py [--rivals | --planted] [--quick] [--seeds N] [--instance FOLDER]
    [--json PATH] [--doc PAGE] [--plot PATH]

Every attribute of city is fitted at the middle layer in each setting and judged on validation pairs of
held-out templates and of held-out entities; no test pair is read. A pass is a pair that goes through
the model and back; passes and seconds are of all attributes together. All fits share an engine that has
filled its states before, so that seconds are those of learning. One thread. With `--planted` subspaces of the
true size are fitted on the planted world that comes with the suite, and held against its truth; nothing is
judged.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from cases import Plan, bundled_case
from measuring import KeepingWorkspace, environment, markdown_table, put_between_markers

from das.engine.base.labels import ForcedLabels
from das.engine.base.protocol import FeaturizedPairs
from das.engine.engines.answering import EngineAnswerer
from das.engine.engines.resume import ResumeEngine
from das.methods.common.base import Problem
from das.methods.registry import METHODS
from das.models.planted import PlantedWorld, load_world
from das.models.planted.world import BUNDLED_WORLD
from das.sites import Site
from das.threads import one_thread
from evaluation.judging.judge import judge
from evaluation.report.plots.canvas import drawing, new_figure, saved
from evaluation.validity.planted.score import planted_site
from evaluation.validity.planted.truth import nearness
from ravel.building import BuildConfig, build_instance
from ravel.common.io import write_json
from ravel.instance import Instance

SETTINGS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("mdas", "at its own cost", {}),
    ("mdas", "six epochs, smaller steps", {"epochs": 6, "learning_rate": 0.004, "batch_size": 16}),
    ("mdas", "a third of the pairs", {"cause_pairs": 333, "isolate_pairs_per_attribute": 83}),
    (
        "mdas",
        "a tenth of the pairs",
        {"cause_pairs": 100, "isolate_pairs_per_attribute": 25, "learning_rate": 0.03},
    ),
    (
        "mdas",
        "a tenth of the pairs, as many steps",
        {"cause_pairs": 100, "isolate_pairs_per_attribute": 25, "epochs": 30},
    ),
    ("emulated_mdas", "never asked", {"rounds": 0}),
    ("emulated_mdas", "one round of 85", {"rounds": 1, "queries": 85}),
    ("emulated_mdas", "two rounds of 85", {"queries": 85}),
    ("emulated_mdas", "two rounds of 340", {}),
    ("emulated_mdas", "two rounds of 340, no slopes", {"slope_weight": 0.0}),
    ("emulated_mdas", "two rounds of 340, no bound", {"bound": 0.0}),
)
"""Method, what the table calls the setting, and the setting."""
RIVALS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("mdas", "default", {}),
    ("nonlinear_das", "couplings", {}),
    ("nonlinear_das", "monotone functions", {"map": "monotone"}),
    ("hyperdas", "a reflection per column", {}),
    ("hyperdas", "one reflection", {"reflections": 1}),
)
"""The same of methods that train a map, or one network for all attributes."""
PLANTED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("mdas", "as in `ravel planted score`", {"epochs": 10, "learning_rate": 0.03, "validation_pairs": 0}),
    ("mdas", "default", {}),
    (
        "mdas",
        "a tenth of the pairs",
        {"cause_pairs": 150, "isolate_pairs_per_attribute": 94, "learning_rate": 0.03},
    ),
    ("das", "default", {}),
    ("emulated_mdas", "one round of 85", {"rounds": 1, "queries": 85}),
    ("emulated_mdas", "two rounds of 85", {"queries": 85}),
    ("emulated_mdas", "two rounds of 340", {}),
)
"""The same on a planted world."""
SPLITS = {"context": "context_val", "entity": "entity_val"}
SIZE = 32


@dataclass(frozen=True)
class Near:
    """How near to the truth a setting came with one seed."""

    passes: int
    """As in `Found`."""
    similarity: float
    """Mean over attributes, 1 for the same subspace."""
    angle: float
    """Largest principal angle of any attribute, in degrees."""


class CountingEngine(ResumeEngine):
    """Counts the pairs whose way back is gone."""

    passes = 0

    def forced_labels(self, groups: Sequence[FeaturizedPairs], site: Site) -> list[ForcedLabels]:
        """Judge, and count where gradients are wanted."""
        if torch.is_grad_enabled():
            self.passes += sum(len(group.pairs) for group in groups)
        return super().forced_labels(groups, site)


Made = tuple[Instance, CountingEngine]
"""Pairs, and the engine that runs them."""


@dataclass(frozen=True)
class Found:
    """What a setting came to with one seed."""

    passes: int
    """Pairs through the model and back, all attributes together."""
    seconds: float
    """Of a processor, in the fits: what else the machine does makes no difference."""
    scores: dict[str, float]
    """Mean of disentangle over attributes, per split."""


def disentangled(
    instance: Instance, split: str, engine: ResumeEngine, site: Site, featurizer: Any, target: str
) -> float:
    """Return the mean of cause and isolate of one target, attributes counted alike."""
    said: dict[str, list[bool]] = {}
    for outcome in judge(instance, split, engine, site, featurizer, tolerance=False):
        own = outcome.attribute == target
        said.setdefault(outcome.attribute, []).append(outcome.said_swapped if own else outcome.said_unchanged)
    shares = {attribute: sum(flags) / len(flags) for attribute, flags in said.items()}
    cause = shares.pop(target)
    return (cause + sum(shares.values()) / len(shares)) / 2


def measured(case: Any, method: str, settings: dict[str, Any], seed: int, engine: CountingEngine) -> Found:
    """Fit every attribute and judge it."""
    kind = METHODS.get(method)
    made = kind(kind.config_class.from_mapping(settings, origin="the benchmark"))
    workspace, instance = KeepingWorkspace(), case.instance
    before, began = engine.passes, time.process_time()
    fitted = {
        attribute: made.fit(
            Problem(instance.without_test(), attribute, case.site, SIZE, seed), engine, workspace
        )
        for attribute in instance.attributes
    }
    seconds, passes = time.process_time() - began, engine.passes - before
    scores = {
        name: sum(disentangled(instance, split, engine, case.site, f, a) for a, f in fitted.items())
        / len(fitted)
        for name, split in SPLITS.items()
    }
    return Found(passes, seconds, scores)


def near_truth(method: str, settings: dict[str, Any], seed: int, world: PlantedWorld, made: Made) -> Near:
    """Fit every attribute of a planted world at its true size; hold the subspaces against the truth."""
    kind, (instance, engine) = METHODS.get(method), made
    fit = kind(kind.config_class.from_mapping(settings, origin="the benchmark")).fit
    site, workspace, before = Site.parse(planted_site(world)), KeepingWorkspace(), engine.passes
    found = []
    for attribute in instance.attributes:
        truth = world.truth(attribute)
        problem = Problem(instance.without_test(), attribute, site, int(truth.shape[1]), seed)
        found.append(nearness(fit(problem, engine, workspace), truth))
    angles = [near.largest if near.largest is not None else 90.0 for near in found]
    return Near(engine.passes - before, mean(near.similarity for near in found), max(angles))


def planted_table(seeds: int, *, quick: bool) -> str:
    """Return the table of angles."""
    world = load_world(BUNDLED_WORLD)
    engine = CountingEngine(world.target)
    pairs = 60 if quick else 1500
    build = BuildConfig(
        max_new_tokens=2, keep_entities=world.spec.entities, train_pairs=pairs, evaluation_pairs=16
    )
    made = (build_instance(world.tables, EngineAnswerer(engine), build), engine)
    rows = []
    for method, called, setting in PLANTED[-1:] if quick else PLANTED:
        found = [near_truth(method, setting, seed, world, made) for seed in range(seeds)]
        angles = [one.angle for one in found]
        passes, similarity = mean(one.passes for one in found), mean(one.similarity for one in found)
        means = [f"{passes:,.0f}", f"{similarity:.3f}", f"{mean(angles):.1f}"]
        rows.append([method, called, *means, f"{max(angles):.1f}"])
        print(rows[-1], flush=True)
    header = ("method", "setting", "passes", "similarity", "largest angle", "of the worst seed")
    return markdown_table(header, rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few pairs: to see that it runs")
    parser.add_argument("--rivals", action="store_true", help="maps and networks in place of the frontier")
    parser.add_argument("--planted", action="store_true", help="angles to a truth in place of the frontier")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each setting (default 3)")
    parser.add_argument(
        "--instance", type=Path, help="an instance of the bundled model; by default one is built"
    )
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--doc", type=Path, help="put the table into this page")
    parser.add_argument("--plot", type=Path, help="draw disentangle against passes there")
    asked = parser.parse_args(argv)
    if asked.planted:
        with one_thread():
            table = planted_table(asked.seeds, quick=asked.quick)
        print(table)
        if asked.doc is not None:
            put_between_markers(asked.doc, {"planted": table})
        return
    plan = Plan(60, 24, 30, 8, 1) if asked.quick else Plan(1000, 128, 400, 8, 1, attributes=None)
    settings = RIVALS if asked.rivals else SETTINGS
    settings = settings[-1:] if asked.quick else settings
    rows = []
    with one_thread():
        case = bundled_case(plan, folder=asked.instance)
        engine = CountingEngine(case.target)
        measured(case, "mdas", {"epochs": 1}, 0, engine)
        for method, called, setting in settings:
            found = [measured(case, method, setting, seed, engine) for seed in range(asked.seeds)]
            rows.append({"method": method, "setting": called, "found": [vars(one) for one in found]})
            print(row_of(rows[-1]), flush=True)
    table = markdown_table(("method", "setting", "passes", "seconds", *SPLITS), [row_of(row) for row in rows])
    print(table)
    if asked.json is not None:
        write_json(asked.json, {"environment": environment("cpu"), "rows": rows})
    if asked.plot is not None and not asked.rivals:
        draw(rows, asked.plot.with_suffix(""))
    if asked.doc is not None:
        put_between_markers(asked.doc, {"rivals" if asked.rivals else "frontier": table})


def row_of(row: dict[str, Any]) -> list[str]:
    """Return the cells of a setting's row: means over seeds, and the spread of the scores over these."""
    found = row["found"]
    scores = []
    for name in SPLITS:
        values = [one["scores"][name] for one in found]
        scores.append(f"{mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")
    passes, seconds = (mean([one[key] for one in found]) for key in ("passes", "seconds"))
    return [row["method"], row["setting"], f"{passes:,.0f}", f"{seconds:.0f}", *scores]


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the scores of each method against passes, a panel per split."""
    with drawing():
        figure = new_figure(8.0, 3.4)
        panels = figure.subplots(1, len(SPLITS), sharey=True)
        for panel, name in zip(panels, SPLITS, strict=True):
            for method, marker in (("mdas", "o"), ("emulated_mdas", "s")):
                found = [one for row in rows if row["method"] == method for one in row["found"]]
                # A setting that never asks has no place on a logarithmic axis but at its edge.
                passes = [max(one["passes"], 100) for one in found]
                panel.plot(passes, [one["scores"][name] for one in found], marker, label=method, alpha=0.7)
            panel.set_xscale("log")
            panel.set_xlabel("passes, all attributes together")
            panel.set_title(f"held-out {'templates' if name == 'context' else 'entities'}")
        panels[0].set_ylabel("disentangle")
        panels[0].legend()
        saved(figure, path)


if __name__ == "__main__":
    main()
