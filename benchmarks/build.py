"""Prompts per second of a build against a plain batched `generate` with padding: same prompts, same answers.

Run `python benchmarks/build.py [--quick] [--json PATH] [--model NAME]`; prints medians and their ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig

from das.engine import DirectEngine, EngineAnswerer
from das.models.base import TargetModel
from das.models.load import load_target
from das.models.miniature import character_tokenizer, random_target
from ravel.common.errors import SuiteError
from ravel.common.io import write_json
from ravel.knowledge import complete_in_chunks
from ravel.prompts import fill
from ravel.schema import Prompt
from ravel.tables import read_bundled

NEW_TOKENS = 8
PLAIN_BATCH = 64
REPEATS = 5
PER_TEMPLATE = 256
MOST_DIFFERENT = 0.005
"""Share of answers that may differ: padding changes sums in the last bit, which can turn a near tie."""

TokenIds = list[tuple[int, ...]]


def main() -> None:
    """Measure both ways in turns and print the ratio of their medians."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    target = _target(arguments.model)
    prompts = _prompts(512 if arguments.quick else 8192)
    ways: dict[str, Callable[[], TokenIds]] = {
        "plain": lambda: _plain(target, prompts),
        "build": lambda: _build(target, prompts),
    }
    seconds, answers = _measure(ways)
    result = _result(target, prompts, seconds, answers)
    _print(result)
    if arguments.json is not None:
        write_json(arguments.json, result)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="512 prompts instead of 8192")
    parser.add_argument("--json", type=Path, default=None, help="write the numbers to this file")
    parser.add_argument("--model", default="bundled", help="name or folder of a model, or `random`")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    return parser.parse_args()


def _target(name: str) -> TargetModel:
    if name != "random":
        try:
            return load_target(name)
        except SuiteError:
            if name != "bundled":
                raise
    size = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
    vocabulary = len(character_tokenizer())
    return random_target(LlamaConfig(**size, vocab_size=vocabulary), name="random-llama-4x128")


def _prompts(count: int) -> list[Prompt]:
    """Take prompts in the order of a build: all entities of a template, then the next template."""
    tables = read_bundled("city")
    asking = [template for template in tables.templates if template.attribute is not None]
    chosen = asking[:: max(1, len(asking) * PER_TEMPLATE // count)]
    entities = tables.entities[:: len(tables.entities) // PER_TEMPLATE]
    return [fill(template, facts.entity) for template in chosen for facts in entities][:count]


def _build(target: TargetModel, prompts: Sequence[Prompt]) -> TokenIds:
    """Complete as `ravel build` does; a new engine, so that nothing is remembered between repeats."""
    answerer = EngineAnswerer(DirectEngine(target))
    answers = complete_in_chunks(
        iter(prompts),
        len(prompts),
        answerer,
        max_new_tokens=NEW_TOKENS,
        progress=lambda stage, done, total: None,
        stage="benchmark",
    )
    return [answer.token_ids for answer in answers]


def _plain(target: TargetModel, prompts: Sequence[Prompt]) -> TokenIds:
    """Complete with `generate`, left-padded batches in the order given."""
    answers: TokenIds = []
    for start in range(0, len(prompts), PLAIN_BATCH):
        texts = [prompt.text for prompt in prompts[start : start + PLAIN_BATCH]]
        batch = target.tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
        with torch.no_grad():
            grown = target.model.generate(
                input_ids=batch["input_ids"].to(target.device),
                attention_mask=batch["attention_mask"].to(target.device),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                eos_token_id=sorted(target.end_ids) or None,
                pad_token_id=target.tokenizer.pad_token_id,
            )
        new = grown[:, batch["input_ids"].shape[1] :].tolist()
        answers += [_until_end(ids, target.end_ids) for ids in new]
    return answers


def _until_end(token_ids: list[int], end_ids: frozenset[int]) -> tuple[int, ...]:
    ends = [index for index, token in enumerate(token_ids) if token in end_ids]
    return tuple(token_ids[: ends[0] + 1] if ends else token_ids)


def _measure(
    ways: dict[str, Callable[[], TokenIds]],
) -> tuple[dict[str, list[float]], dict[str, TokenIds]]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    answers: dict[str, TokenIds] = {}
    for _ in range(REPEATS):
        for name, way in ways.items():
            start = time.perf_counter()
            answers[name] = way()
            seconds[name].append(time.perf_counter() - start)
    return seconds, answers


def _result(
    target: TargetModel,
    prompts: Sequence[Prompt],
    seconds: dict[str, list[float]],
    answers: dict[str, TokenIds],
) -> dict[str, Any]:
    different = sum(a != b for a, b in zip(answers["plain"], answers["build"], strict=True))
    if different > MOST_DIFFERENT * len(prompts):
        raise SystemExit(f"{different} of {len(prompts)} answers differ between the two ways")
    speed = {name: len(prompts) / statistics.median(times) for name, times in seconds.items()}
    return {
        "model": target.name,
        "prompts": len(prompts),
        "new_tokens": NEW_TOKENS,
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "prompts_per_second": speed,
        "ratio": speed["build"] / speed["plain"],
        "different_answers": different,
    }


def _print(result: dict[str, Any]) -> None:
    print(f"{result['model']}: {result['prompts']} prompts, {result['new_tokens']} new tokens each")
    for name, speed in result["prompts_per_second"].items():
        print(f"  {name:6} {speed:9.1f} prompts/s (median of {REPEATS})")
    print(f"  ratio  {result['ratio']:9.2f}   different answers: {result['different_answers']}")


if __name__ == "__main__":
    main()
