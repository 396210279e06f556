"""What an epoch costs against depth of the site, prompt length, number of fits and pairs per prompt.

    python benchmarks/scaling.py [--quick] [--threads N] [--json PATH] [--plot PATH] [--doc PAGE]

A random-weight Llama of 8 blocks, 256 wide, is fitted for one epoch on made-up pairs by an engine that has
kept nothing yet; `resume` and `direct` take turns, and a figure is the median of the repeats. Beside it is
the work that can't be avoided, counted from shapes. Time should grow with that work, not with the pairs.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from cases import random_llama
from figures import draw_scaling, scaling_page
from flops import work_of
from measuring import clocked, environment, median, peak_memory, put_between_markers, restart_peak

from das.engine import ForcedPair, make_engine
from das.featurizers import retract
from das.models.base import TargetModel
from das.sites import Site
from das.training.config import TrainingConfig, TrainingTask
from das.training.loop import train_featurizer
from das.training.objective import LossWeights, TrainingPair
from das.training.trainable import TrainableSubspace
from das.training.workspace import SilentWorkspace
from ravel.common.io import write_json
from ravel.common.seeds import derive_seed, python_stream
from ravel.terms.schema import Prompt

ENGINES = ("resume", "direct")
LAYERS, WIDTH, SIZE, BATCH = 8, 256, 16, 32
BASES = ("%s is a city in", "People in %s usually speak", "The country to which %s belongs is")
SOURCES = ("I have been to %s.", "A letter from %s came.", "%s has its own")
FILLER = "It was a long day on the road and we were glad to see the lights of a town at last ."
SYLLABLES = ("ka", "lo", "mer", "ti", "sun", "dra", "vel", "po", "ash", "bin")


@dataclass(frozen=True, slots=True)
class Point:
    """One problem to time."""

    value: int
    """What was varied, as on the axis."""
    site: Site
    """Where the subspace acts."""
    pairs: tuple[TrainingPair, ...]
    """What is trained on."""
    fits: int = 1
    """Fits of one epoch, one after the other on the same engine."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One question: the same problem with one thing varied."""

    key: str
    """As in JSON."""
    label: str
    """As on the axis."""
    points: tuple[Point, ...]
    """In ascending order."""


def make_pairs(count: int, *, bases: int, sources: int, words_before: int = 0) -> tuple[TrainingPair, ...]:
    """Return pairs of so many different base and source prompts, with so many words before each base."""
    stream = python_stream(0, "scaling")
    words = (FILLER.split() * (words_before // len(FILLER.split()) + 1))[:words_before]
    before = " ".join(words) + " " if words else ""
    base_prompts = [_prompt(before + stream.choice(BASES), name) for name in _names(bases, stream)]
    source_prompts = [_prompt(stream.choice(SOURCES), name) for name in _names(sources, stream)]
    # Going round both lists at different paces makes every pair different.
    chosen = [(base_prompts[i % bases], source_prompts[(i + i // bases) % sources]) for i in range(count)]
    labels = [(10 + i % 50,) if i % 3 else (10 + i % 50, 80) for i in range(bases)]
    return tuple(
        TrainingPair(ForcedPair(base, source, labels[i % bases]), kind="cause", attribute="made up")
        for i, (base, source) in enumerate(chosen)
    )


def _names(count: int, stream: random.Random) -> list[str]:
    names: dict[str, None] = {}
    while len(names) < count:
        names["".join(stream.choices(SYLLABLES, k=stream.randint(2, 4))).title()] = None
    return list(names)


def _prompt(template: str, name: str) -> Prompt:
    start = template.index("%s")
    return Prompt(template.replace("%s", name), template, name, None, (start, start + len(name)))


def sweeps(pairs: int) -> list[Sweep]:
    """Return the four questions for problems of so many pairs."""
    middle = Site(LAYERS // 2)
    usual = make_pairs(pairs, bases=pairs // 4, sources=pairs // 4)
    depths = tuple(Point(layer, Site(layer), usual) for layer in range(0, LAYERS - 1, 2))
    lengths = tuple(
        Point(words, middle, make_pairs(pairs, bases=pairs // 4, sources=pairs // 4, words_before=words))
        for words in (0, 16, 32, 64)
    )
    fits = tuple(Point(count, middle, usual, count) for count in (1, 2, 4, 8))
    shared = tuple(
        Point(each, middle, make_pairs(pairs, bases=pairs // each, sources=pairs // each))
        # More pairs per prompt than prompts would mean equal pairs, which are no further work.
        for each in (1, 2, 4, 8, 16)
        if each * each <= pairs
    )
    return [
        Sweep("depth", "block of the site", depths),
        Sweep("length", "words before the entity's sentence", lengths),
        Sweep("fits", "fits on the same pairs", fits),
        Sweep("sharing", "pairs per different prompt", shared),
    ]


def timed(engine_name: str, target: TargetModel, point: Point) -> tuple[float, int]:
    """Return the seconds per 1000 pairs of a point, and by how many bytes memory grew at most."""
    before = restart_peak()
    engine = make_engine(engine_name, target)

    def run() -> None:
        for seed in range(point.fits):
            stream = torch.Generator().manual_seed(derive_seed(seed, "start"))
            start = retract(torch.randn(target.d_model, SIZE, generator=stream))
            task = TrainingTask(point.pairs, (), point.site, LossWeights(), seed, "scaling")
            config = TrainingConfig(epochs=1, batch_size=BATCH, validation_pairs=0)
            trainable = TrainableSubspace(start).to(target.device)
            train_featurizer(trainable, task, engine, SilentWorkspace(), config)

    seconds, _ = clocked(run, target.device)
    return 1000 * seconds / (len(point.pairs) * point.fits), max(0, peak_memory() - before)


def measure(target: TargetModel, sweep: Sweep, repeats: int) -> dict[str, Any]:
    """Return all that is known of a sweep. A turn takes every point and engine, so that load hits all."""
    turns = []
    for turn in range(repeats):
        print(f"{sweep.label}: turn {turn + 1} of {repeats}", file=sys.stderr, flush=True)
        turns.append([{name: timed(name, target, point) for name in ENGINES} for point in sweep.points])
    points = [
        {
            "value": point.value,
            "pairs": len(point.pairs),
            "operations_per_1000": _operations(target, point),
            "engines": {name: _summary([turn[i][name] for turn in turns]) for name in ENGINES},
        }
        for i, point in enumerate(sweep.points)
    ]
    return {"key": sweep.key, "label": sweep.label, "engines": list(ENGINES), "points": points}


def _operations(target: TargetModel, point: Point) -> float:
    """Return the unavoidable operations of 1000 pairs: what is filled once, and each fit forward and back."""
    work = work_of(target, point.site, [pair.forced for pair in point.pairs])
    return 1000 * (work.fill + point.fits * 2 * work.least) / (point.fits * len(point.pairs))


def _summary(turns: Sequence[tuple[float, int]]) -> dict[str, Any]:
    seconds = [found for found, _ in turns]
    return {
        "seconds_per_1000": median(seconds),
        "all_seconds_per_1000": seconds,
        "peak_bytes": max(memory for _, memory in turns),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pairs and repeats, about a minute")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--plot", type=Path, help="draw them to this path, as PNG and SVG")
    parser.add_argument("--doc", type=Path, help="write the tables between the markers of this page")
    parser.add_argument("--from-json", type=Path, help="measure nothing: tables and plot of an earlier run")
    return parser.parse_args()


def main() -> None:
    """Measure, print and write."""
    arguments = _arguments()
    if arguments.from_json is not None:
        found = json.loads(arguments.from_json.read_text(encoding="utf-8"))
    else:
        found = run(arguments.threads, quick=arguments.quick)
    print(scaling_page(found))
    if arguments.json is not None:
        write_json(arguments.json, found)
    if arguments.plot is not None:
        draw_scaling(found, arguments.plot)
    if arguments.doc is not None:
        put_between_markers(arguments.doc, {"scaling": scaling_page(found)})


def run(threads: int, *, quick: bool) -> dict[str, Any]:
    """Measure all four questions."""
    torch.set_num_threads(threads)
    target = random_llama(LAYERS, WIDTH)
    pairs, repeats = (64, 3) if quick else (256, 5)
    timed("resume", target, Point(0, Site(LAYERS // 2), make_pairs(16, bases=4, sources=4)))
    return {
        "schema_version": 1,
        "quick": quick,
        "model": f"random Llama, {LAYERS} x {WIDTH}",
        "environment": environment("cpu"),
        "sweeps": [measure(target, sweep, repeats) for sweep in sweeps(pairs)],
    }


if __name__ == "__main__":
    main()
