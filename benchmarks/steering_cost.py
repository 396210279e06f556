"""Seconds of steering a prompt towards a value beside those of scoring a swapped pair, on one instance.

    python benchmarks/steering_cost.py INSTANCE --model bundled --site block_output.1@entity_last

The same random subspace is swapped, and brought from the mean of vectors with a value, on the validation
pairs of held-out templates and entities. Each side is run twice, cold and warm: what answers cost the model
that is left alone is known the second time, but for answers that are new.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from das.engine import make_engine
from das.engine.base.protocol import Engine
from das.featurizers import Subspace
from das.sites import Site
from evaluation.config.judging import Judging
from evaluation.config.target import TargetConfig
from evaluation.tracks import TRACKS
from ravel.instance import Instance

SPLITS = ("context_val", "entity_val")


def seconds_per_case(track: str, engine: Engine, instance: Instance, site: Site, size: int) -> list[float]:
    """Return the seconds of a case, the first time and with another subspace the second time."""
    settings = {"strengths": [1.0]} if track == "steering" else {}
    judge = TRACKS.get(track).judge(engine, Judging(settings=settings))
    taken = []
    for seed in range(2):
        drawn = torch.randn(engine.target.width(site), size, generator=torch.Generator().manual_seed(seed))
        subspace = Subspace(torch.linalg.qr(drawn).Q)
        begin = time.perf_counter()
        n_cases = sum(len(judge.judge(instance, split, site, subspace)) for split in SPLITS)
        taken.append((time.perf_counter() - begin) / max(n_cases, 1))
    return taken


def main() -> None:
    """Print milliseconds of a case, cold and warm, and how many times one is the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("instance", type=Path)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--site", default="block_output.1@entity_last")
    parser.add_argument("--size", type=int, default=24)
    args = parser.parse_args()
    instance, site = Instance.load(args.instance), Site.parse(args.site)
    target = TargetConfig(model=args.model).load()
    found = {
        track: seconds_per_case(track, make_engine("resume", target), instance, site, args.size)
        for track in ("interchange", "steering")
    }
    for state, swapped, steered in zip(("cold", "warm"), *found.values(), strict=True):
        times = f"{1000 * swapped:.1f} ms a pair, {1000 * steered:.1f} ms a steered prompt"
        print(f"{state}: {times}: {steered / swapped:.2f} times")


if __name__ == "__main__":
    main()
