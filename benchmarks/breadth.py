"""More templates or more entities: what MDAS makes of as many training pairs from fewer of either.

    python benchmarks/breadth.py INSTANCE [--model NAME] [--layer N] [--size N] [--rate X] [--batch N]
        [--seeds N] [--most N] [--quarters] [--json PATH] [--doc PAGE]

INSTANCE should have many training pairs for its entities and templates (`train_pairs` of a build): what is
left of them among a quarter of the entities is how many every row trains on. Judged on validation pairs of
held-out templates and of held-out entities; no test pair is read. One thread.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beyond_mdas import SPLITS, CountingEngine, measured
from cases import Case, Plan
from measuring import environment, markdown_table, put_between_markers

from das.models.load import BUNDLED, load_target
from das.sites import Site
from das.threads import one_thread
from ravel.common.io import write_json
from ravel.common.seeds import sampled
from ravel.instance import Instance
from ravel.terms.schema import TRAIN_SPLIT, InterchangePair

SHARES = ((1.0, 1.0), (0.5, 1.0), (0.25, 1.0), (1.0, 0.5), (1.0, 0.25))
"""Shares of the templates of each attribute and of the entities that training pairs are of."""
QUARTERS = ((1.0, 1.0), (0.25, 1.0), (1.0, 0.25))
"""The fewest of either, for models that take long."""
Shares = Sequence[tuple[float, float]]
Pairs = dict[str, list[InterchangePair]]


def narrowed(instance: Instance, templates: float, entities: float, seed: int) -> Pairs:
    """Return the training pairs of each attribute whose templates and entities are all among a random share;
    texts that ask for nothing stay."""
    pairs = instance.pairs(TRAIN_SPLIT)
    named = sorted({name for pair in pairs for name in (pair.base_entity, pair.source_entity)})
    asking: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        asking[pair.attribute].add(pair.base_template)
    kept = {
        text
        for name, texts in asking.items()
        for text in sampled(sorted(texts), max(1, round(templates * len(texts))), seed, "templates", name)
    }
    people = set(sampled(named, max(2, round(entities * len(named))), seed, "entities"))
    dropped = {text for texts in asking.values() for text in texts} - kept
    found: Pairs = {name: [] for name in instance.attributes}
    for pair in pairs:
        if _inside(instance, pair, people, dropped):
            found[pair.attribute].append(pair)
    return found


def _inside(instance: Instance, pair: InterchangePair, people: set[str], dropped: set[str]) -> bool:
    texts = (pair.base_template, instance.prompt(pair.source).prompt.template)
    return {pair.base_entity, pair.source_entity} <= people and dropped.isdisjoint(texts)


def with_training(instance: Instance, pairs: Pairs, each: int, seed: int) -> Instance:
    """Return the instance with at most `each` of these training pairs an attribute, and its other splits."""
    chosen = [p for name, found in pairs.items() for p in sampled(found, each, seed, "pairs", name)]
    splits = {split: instance.pairs(split) for split in instance.splits()}
    prompts = {record.prompt_id: record for record in instance.prompts()}
    return Instance(manifest=instance.manifest, prompts=prompts, pairs={**splits, TRAIN_SPLIT: tuple(chosen)})


def rows_of(
    case: Case, settings: dict[str, Any], seeds: int, *, shares: Shares = SHARES, most: int | None = None
) -> list[dict[str, Any]]:
    """Fit MDAS for every attribute on each share, on as many pairs everywhere, at `most` so many."""
    engine = CountingEngine(case.target)
    rows: list[dict[str, Any]] = [{"templates": t, "entities": e, "found": []} for t, e in shares]
    for seed in range(seeds):
        narrow = [narrowed(case.instance, row["templates"], row["entities"], seed) for row in rows]
        counts = [len(found) for pairs in narrow for found in pairs.values()]
        each = min(counts if most is None else [*counts, most])
        for row, pairs in zip(rows, narrow, strict=True):
            part = with_training(case.instance, pairs, each, seed)
            one = Case(case.name, case.key, case.target, case.site, part, case.plan)
            wanted = {"cause_pairs": each, **settings}
            row["found"].append({"pairs": each, **vars(measured(one, "mdas", wanted, seed, engine))})
            print(cells(row), flush=True)
    return rows


def cells(row: dict[str, Any]) -> list[str]:
    """Return the cells of a row: means over seeds, and the spread of the scores over these."""
    found = row["found"]
    scores = [[one["scores"][name] for one in found] for name in SPLITS]
    pairs = sum(one["pairs"] for one in found) / len(found)
    spread = [f"{sum(v) / len(v):.3f} ({min(v):.3f} to {max(v):.3f})" for v in scores]
    return [f"{row['templates']:.0%}", f"{row['entities']:.0%}", f"{pairs:.0f}", *spread]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("instance", type=Path, help="an instance with many training pairs")
    parser.add_argument("--model", default=BUNDLED, help="as for `load_target`")
    parser.add_argument("--layer", type=int, default=2, help="the block whose output is swapped")
    parser.add_argument("--size", type=int, default=32, help="dimensions of the subspace")
    parser.add_argument("--rate", type=float, help="learning rate, by default the method's")
    parser.add_argument("--batch", type=int, help="pairs of a step, by default the method's")
    parser.add_argument("--seeds", type=int, default=2, help="draws and fits (default 2)")
    parser.add_argument("--most", type=int, help="training pairs of an attribute at most")
    parser.add_argument("--quarters", action="store_true", help="all, or a quarter of either")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--doc", type=Path, help="put the table into this page")
    asked = parser.parse_args(argv)
    given = {"learning_rate": asked.rate, "batch_size": asked.batch}
    settings = {name: value for name, value in given.items() if value is not None}
    with one_thread():
        instance, target = Instance.load(asked.instance), load_target(asked.model)
        case = Case(asked.model, asked.model, target, Site(asked.layer), instance, Plan(0, 0, 0, 0, 1))
        shares = QUARTERS if asked.quarters else SHARES
        rows = rows_of(case, settings, asked.seeds, shares=shares, most=asked.most)
    header = ("templates", "entities", "training pairs", *SPLITS)
    table = markdown_table(header, [cells(row) for row in rows])
    print(table)
    if asked.json is not None:
        write_json(asked.json, {"environment": environment("cpu"), "rows": rows})
    if asked.doc is not None:
        put_between_markers(asked.doc, {f"breadth-{asked.model}": table})


if __name__ == "__main__":
    main()
