"""Pairs per second of the direct engine against the reference, training and scoring, on the same batches.

    python benchmarks/engine.py [--quick] [--json PATH] [--threads N]

Both engines answer the same batches in the same process, and their logits and gradients are compared before
anything is timed. A figure is the median of several runs. `first` starts with no source vector known, as the
first epoch of a first target does; `later` finds them all, as every further epoch, target attribute and
method at that site does.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import GPT2Config, Qwen2Config

from das.engine import DirectEngine, Engine, ForcedPair
from das.engine.reference import ReferenceEngine
from das.featurizers import Subspace, retract
from das.models import TargetModel
from das.models.load import BUNDLED, load_target
from das.models.miniature import random_target
from das.sites import Site
from ravel.common.errors import SuiteError
from ravel.common.io import write_json
from ravel.common.seeds import derive_seed, python_stream
from ravel.schema import Prompt

TEMPLATES = (
    "%s is a city in",
    "People in %s usually speak",
    "The country to which %s belongs is",
    "%s lies on the continent of",
    "A traveller to %s sets the clock to",
    "name: %s, country:",
)
SOURCES = ("I have been to %s.", "A letter from %s came.", "%s has its own")
SYLLABLES = ("ka", "lo", "mer", "ti", "sun", "dra", "vel", "po", "ash", "bin")
TOLERANCE = 1e-4
"""Largest difference of the engines' results, relative to the largest number."""


@dataclass(frozen=True)
class Plan:
    """How much is run."""

    pairs: int
    """Pairs in one pass."""
    sources: int
    """Different source prompts among them, at most."""
    repeats: int
    """Timed runs of each figure."""
    training_batch: int = 16
    """Pairs in a training step, as in the reference."""
    scoring_batch: int = 64
    """Pairs in a scoring call."""
    size: int = 16
    """Dimension of the subspace."""


@dataclass(frozen=True)
class Case:
    """A model and where it is intervened on."""

    name: str
    """As printed."""
    target: TargetModel
    """The model."""
    site: Site
    """A middle block at the entity's last token."""


def small_case() -> Case:
    """Return the bundled model, or a random stand-in of its shape where it is not installed."""
    try:
        target = load_target(BUNDLED)
    except SuiteError:
        config = Qwen2Config(
            vocab_size=2048,
            hidden_size=192,
            num_hidden_layers=6,
            num_attention_heads=6,
            num_key_value_heads=6,
            intermediate_size=512,
            max_position_embeddings=256,
            use_sliding_window=True,
            sliding_window=3,
            layer_types=["sliding_attention"] * 5 + ["full_attention"],
        )
        target = random_target(config, name="stand-in for the bundled model, random weights")
    return Case(target.name, target, Site(target.n_layers // 2))


def gpt2_case() -> Case:
    """Return a random GPT-2 of the smallest published shape: 12 layers, width 768, 50,257 tokens."""
    target = random_target(GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0), name="gpt2-12x768")
    return Case("GPT-2 shape, 12 layers, width 768, random weights", target, Site(6))


def prompt_of(template: str, entity: str) -> Prompt:
    """Fill a template."""
    start = template.index("%s")
    return Prompt(
        text=template.replace("%s", entity),
        template=template,
        entity=entity,
        attribute=None,
        span=(start, start + len(entity)),
    )


def make_pairs(plan: Plan, vocabulary: int) -> list[ForcedPair]:
    """Return pairs of invented names, label lengths 1 to 3, with a limited number of different sources."""
    stream = python_stream(0, "benchmark")
    names = ["".join(stream.choices(SYLLABLES, k=stream.randint(2, 4))).title() for _ in range(plan.pairs)]
    sources = [prompt_of(stream.choice(SOURCES), name) for name in names[: plan.sources]]
    return [
        ForcedPair(
            base=prompt_of(stream.choice(TEMPLATES), name),
            source=stream.choice(sources),
            label_ids=tuple(stream.randrange(3, min(vocabulary, 99)) for _ in range(stream.randint(1, 3))),
        )
        for name in names
    ]


def batched(pairs: list[ForcedPair], size: int) -> list[list[ForcedPair]]:
    """Cut the pairs into batches, in order."""
    return [pairs[start : start + size] for start in range(0, len(pairs), size)]


def starting_weight(case: Case, plan: Plan) -> Tensor:
    """Return the same free matrix for every engine and run."""
    stream = torch.Generator().manual_seed(derive_seed(0, "weight"))
    weight = torch.randn(case.target.d_model, plan.size, generator=stream)
    return weight.to(case.target.device).requires_grad_()


def train(engine: Engine, case: Case, plan: Plan, pairs: list[ForcedPair]) -> Tensor:
    """Run forward and backward over every batch and return the summed gradient, [d_model, size]."""
    weight = starting_weight(case, plan)
    for batch in batched(pairs, plan.training_batch):
        logits = engine.interchange_logits(batch, case.site, Subspace(retract(weight)))
        width = logits.shape[1]
        labels = torch.tensor([(pair.label_ids + (-100,) * width)[:width] for pair in batch])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten().to(logits.device))
        loss.backward()
    assert weight.grad is not None
    return weight.grad


def score(engine: Engine, case: Case, plan: Plan, pairs: list[ForcedPair]) -> list[Tensor]:
    """Run every batch forward and return the logits."""
    with torch.no_grad():
        subspace = Subspace(retract(starting_weight(case, plan)))
        return [
            engine.interchange_logits(batch, case.site, subspace)
            for batch in batched(pairs, plan.scoring_batch)
        ]


def seconds(run: Callable[[], Any]) -> float:
    """Return the time of a run."""
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def medians(
    run: Callable[[Engine], Any], direct: DirectEngine, reference: ReferenceEngine, repeats: int
) -> dict[str, float]:
    """Return the median seconds of each way, taken in turn so that a busy machine slows all alike."""
    times: dict[str, list[float]] = {"reference": [], "first": [], "later": []}
    for _ in range(repeats):
        times["reference"].append(seconds(lambda: run(reference)))
        direct.cache.clear()
        times["first"].append(seconds(lambda: run(direct)))
        times["later"].append(seconds(lambda: run(direct)))
    return {way: statistics.median(values) for way, values in times.items()}


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to the largest number."""
    return float((found - expected).abs().max() / expected.abs().max())


def agreement(
    case: Case, plan: Plan, pairs: list[ForcedPair], engines: dict[str, Engine]
) -> dict[str, float]:
    """Return how far the engines are apart in logits and gradients; stop if too far."""
    direct, reference = engines["direct"], engines["reference"]
    logits = zip(score(direct, case, plan, pairs), score(reference, case, plan, pairs), strict=True)
    apart = {
        "logits": max(difference(found, expected) for found, expected in logits),
        "gradients": difference(train(direct, case, plan, pairs), train(reference, case, plan, pairs)),
    }
    if max(apart.values()) > TOLERANCE:
        raise SystemExit(f"{case.name}: the engines disagree: {apart}")
    return apart


def measure(case: Case, plan: Plan) -> dict[str, Any]:
    """Return pairs per second of both engines and their ratios for one model."""
    pairs = make_pairs(plan, int(case.target.model.config.vocab_size))
    direct = DirectEngine(case.target)
    reference = {
        "training": ReferenceEngine(case.target, plan.training_batch),
        "scoring": ReferenceEngine(case.target, plan.scoring_batch),
    }
    work: dict[str, Callable[[Engine], Any]] = {
        "training": lambda engine: train(engine, case, plan, pairs),
        "scoring": lambda engine: score(engine, case, plan, pairs),
    }
    apart = agreement(case, plan, pairs, {"direct": direct, "reference": reference["scoring"]})
    rates: dict[str, dict[str, float]] = {}
    for name, run in work.items():
        clocks = medians(run, direct, reference[name], plan.repeats)
        rates[name] = {way: len(pairs) / clock for way, clock in clocks.items()}
    return {
        "model": case.name,
        "site": str(case.site),
        "pairs": len(pairs),
        "different_sources": len({pair.source.text for pair in pairs}),
        "repeats": plan.repeats,
        "training_batch": plan.training_batch,
        "scoring_batch": plan.scoring_batch,
        "largest_relative_difference": apart,
        "pairs_per_second": rates,
        "ratio_to_reference": {
            name: {run: rate[run] / rate["reference"] for run in ("first", "later")}
            for name, rate in rates.items()
        },
    }


def printed(result: dict[str, Any]) -> None:
    """Print one model's figures."""
    apart = result["largest_relative_difference"]
    print(f"\n{result['model']}, {result['site']}, {result['pairs']} pairs, ", end="")
    print(f"{result['different_sources']} sources, median of {result['repeats']}")
    print(f"  same results: logits within {apart['logits']:.1e}, gradients within {apart['gradients']:.1e}")
    print(f"  {'pairs per second':<18}{'reference':>11}{'direct first':>20}{'direct later':>20}")
    for name, rate in result["pairs_per_second"].items():
        ratio = result["ratio_to_reference"][name]
        cells = [f"{rate[run]:.1f} ({ratio[run]:.2f} x)" for run in ("first", "later")]
        print(f"  {name:<18}{rate['reference']:>11.1f}{cells[0]:>20}{cells[1]:>20}")


def main() -> None:
    """Measure both models and print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pairs and runs, about two minutes")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--threads", type=int, help="threads of torch (default: its own choice)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    plans = [Plan(64, 32, 3), Plan(16, 8, 3)] if arguments.quick else [Plan(256, 96, 5), Plan(64, 24, 5)]
    results = []
    for make, plan in zip((small_case, gpt2_case), plans, strict=True):
        results.append(measure(make(), plan))
        printed(results[-1])
    if arguments.json:
        environment = {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "threads": torch.get_num_threads(),
            "processor": platform.processor() or platform.machine(),
        }
        write_json(arguments.json, {"schema_version": 1, "environment": environment, "results": results})


if __name__ == "__main__":
    main()
