"""What steering a prompt towards a value costs beside scoring a swapped pair, on one instance.

    python benchmarks/steering_cost.py INSTANCE --model bundled --site block_output.1@entity_last \\
        --into docs/steering.md

The same random subspace is swapped, and brought from the mean of vectors with a value, on the validation
pairs of held-out templates and entities. Each side is run cold, and warm with other subspaces: what answers
cost the model that is left alone is known then, but for answers that are new. Training vectors, which a run
has read when it judges, are read before. Counted are seconds of the processor, and tokens through a block.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from measuring import markdown_table, put_between_markers

from das.engine import make_engine
from das.engine.base.protocol import Engine
from das.featurizers import Subspace
from das.methods.common.concepts import concept_vectors
from das.models.base import TargetModel
from das.sites import Site
from evaluation.config.judging import Judging
from evaluation.config.target import TargetConfig
from evaluation.scoring.detection.cases import values_told
from evaluation.tracks import TRACKS
from ravel.instance import Instance

SPLITS = ("context_val", "entity_val")
TIMES = 3
HEADER = (
    *("engine", "states", "ms a pair", "ms a steered prompt", "tokens a pair", "tokens a steered prompt"),
    "steered against swapped",
)


@contextmanager
def counted_tokens(target: TargetModel) -> Iterator[list[int]]:
    """Count tokens through blocks, each once per block."""
    tokens = [0]

    def seen(module: Any, inputs: Any, output: Any) -> None:
        flowing = output if isinstance(output, torch.Tensor) else output[0]
        tokens[0] += flowing.numel() // flowing.shape[-1]

    blocks = [target.place(Site(layer)).module for layer in range(target.n_layers)]
    handles = [block.register_forward_hook(seen) for block in blocks]
    try:
        yield tokens
    finally:
        for handle in handles:
            handle.remove()


def cost_of_case(
    track: str, engine: Engine, instance: Instance, site: Site, size: int
) -> list[tuple[float, float]]:
    """Return the seconds of a case and its tokens through a block, the first time and later times."""
    settings = {"strengths": [1.0]} if track == "steering" else {}
    judge = TRACKS.get(track).judge(engine, Judging(settings=settings))
    for attribute in values_told(instance):
        concept_vectors(instance, attribute, site, engine)
    taken = []
    for seed in range(TIMES):
        drawn = torch.randn(engine.target.width(site), size, generator=torch.Generator().manual_seed(seed))
        subspace, begin = Subspace(torch.linalg.qr(drawn).Q), time.process_time()
        with counted_tokens(engine.target) as tokens:
            n_cases = max(1, sum(len(judge.judge(instance, split, site, subspace)) for split in SPLITS))
        seconds = time.process_time() - begin
        taken.append((seconds / n_cases, tokens[0] / engine.target.n_layers / n_cases))
    return taken


def table(engines: Sequence[str], arguments: argparse.Namespace) -> str:
    """Return a row in Markdown for each engine, cold and warm."""
    instance, site = Instance.load(arguments.instance), Site.parse(arguments.site)
    target = TargetConfig(model=arguments.model).load()
    lines = []
    for engine in engines:
        swapped, steered = (
            cost_of_case(track, make_engine(engine, target), instance, site, arguments.size)
            for track in ("interchange", "steering")
        )
        for states, row in (("cold", 0), ("warm", TIMES - 1)):
            (seconds, tokens), (more_seconds, more_tokens) = swapped[row], steered[row]
            times = (
                f"{more_seconds / seconds:.2f} times the time, {more_tokens / tokens:.2f} times the tokens"
            )
            numbers = (1000 * seconds, 1000 * more_seconds, tokens, more_tokens)
            lines.append([f"`{engine}`", states, *(f"{n:.1f}" for n in numbers), times])
    return markdown_table(HEADER, lines)


def main() -> None:
    """Print the table, or put it into a page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("instance", type=Path)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--site", default="block_output.1@entity_last")
    parser.add_argument("--size", type=int, default=24)
    parser.add_argument("--into", type=Path)
    arguments = parser.parse_args()
    rows = table(("direct", "resume"), arguments)
    if arguments.into is None:
        print(rows, end="")
    else:
        put_between_markers(arguments.into, {"steering_cost": rows})


if __name__ == "__main__":
    main()
