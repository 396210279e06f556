"""Training pairs of fewer templates or entities: none from outside the share, and as many in every row."""

from __future__ import annotations

from breadth import narrowed, rows_of, with_training
from cases import Plan, shape_case

from ravel.terms.schema import TRAIN_SPLIT

PLAN = Plan(40, 12, 40, 4, 1, templates=None)


def test_pairs_are_of_the_share_alone_and_equally_many_everywhere() -> None:
    instance = shape_case("llama-tiny", PLAN).instance
    every = instance.pairs(TRAIN_SPLIT)
    names = {name for pair in every for name in (pair.base_entity, pair.source_entity)}
    everything = narrowed(instance, 1.0, 1.0, seed=0)
    assert sum(map(len, everything.values())) == len(every)

    few = [pair for found in narrowed(instance, 1.0, 0.5, seed=0).values() for pair in found]
    assert 0 < len(few) < len(every)
    assert len({name for pair in few for name in (pair.base_entity, pair.source_entity)}) <= len(names) / 2
    for name, found in narrowed(instance, 0.5, 1.0, seed=0).items():
        texts = {pair.base_template for pair in everything[name]}
        kept = {pair.base_template for pair in found}
        assert len(kept) <= max(1, round(len(texts) / 2))
        asked = {instance.prompt(pair.source).prompt.template for pair in found} & texts
        assert asked <= kept or len(asked | kept) <= max(1, round(len(texts) / 2))

    part = with_training(instance, everything, 7, seed=0)
    assert {len(part.pairs(TRAIN_SPLIT))} == {7 * len(instance.attributes)}
    assert part.pairs("context_val") == instance.pairs("context_val")


def test_every_row_trains_on_as_many_pairs() -> None:
    rows = rows_of(shape_case("llama-tiny", PLAN), {"epochs": 1}, seeds=1)
    (pairs,) = {row["found"][0]["pairs"] for row in rows}
    assert pairs > 0
    assert all(0.0 <= score <= 1.0 for row in rows for score in row["found"][0]["scores"].values())
