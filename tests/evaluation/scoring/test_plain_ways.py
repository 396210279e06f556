"""Every short cut of scoring gives, to the last bit, what the plain way beside it gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome_world import TRACK, noisy, rectangle

from evaluation.records.scores import Outcome
from evaluation.report.page.pairs import _answers
from evaluation.scoring.averages import average_attributes
from evaluation.scoring.clusters import Clusters, Counts, clusters_of
from evaluation.scoring.interchange.estimates import count, scores_of_counts
from evaluation.scoring.interchange.metrics import isolate, isolate_from, mean_share, scores
from evaluation.scoring.intervals import difference, holm, measured
from evaluation.scoring.scores import of_kind
from evaluation.scoring.summary import (
    SeedOutcomes,
    SplitContext,
    average_records,
    comparison_records,
    estimate_methods,
    split_averages,
)
from evaluation.scoring.variance import Contributions, _of_attributes, _OfAttribute, contributions_of
from ravel.common.errors import SuiteError
from ravel.common.io import read_jsonl, write_jsonl


def made(seed: int, keep: float = 0.7, target: str = "A") -> list[Outcome]:
    """Lopsided outcomes: some pairs are missing, and with them whole templates."""
    stream = np.random.default_rng(seed)
    every = rectangle(noisy(target, cause=0.6, isolate=0.8, seed=seed), n_templates=3, n_entities=7)
    return [o for o in every if stream.random() < keep]


SOME = st.builds(made, st.integers(0, 10_000), st.sampled_from([0.05, 0.3, 0.9]))


@given(SOME, st.sampled_from("ABCZ"))
@settings(max_examples=60, deadline=None)
def test_scores_of_counts_are_those_of_outcomes(outcomes: list[Outcome], target: str) -> None:
    clusters = clusters_of(outcomes)
    assert scores_of_counts(count(outcomes, target, clusters), target, clusters) == scores(outcomes, target)


@given(SOME)
@settings(max_examples=30, deadline=None)
def test_isolate_counts_each_other_attribute_by_itself(outcomes: list[Outcome]) -> None:
    others = sorted({o.attribute for o in outcomes} - {"A"})
    assert isolate(outcomes, "A") == mean_share([isolate_from(outcomes, other) for other in others])


def plain_contributions(clusters: Clusters, counts: Counts, shares: Mapping[str, float]) -> Contributions:
    """Template by template, by the definitions of `Contributions`."""
    pairs, right = counts.pairs, counts.right
    of_template = pairs.sum(axis=0)
    within, (weights, between) = np.zeros_like(pairs), np.zeros((2, len(of_template)))
    for attribute, share in shares.items():
        own = [c for c, (name, _) in enumerate(clusters.templates) if name == attribute and of_template[c]]
        accuracies = np.array([right[:, c].sum() / of_template[c] for c in own])
        for column, accuracy in zip(own, accuracies, strict=True):
            n = of_template[column]
            weights[column] = share / len(own) / n
            between[column] = share / len(own) * (accuracy - accuracies.mean())
            widened = weights[column] * np.sqrt(n / max(n - 1, 1))
            within[:, column] = (right[:, column] - accuracy * pairs[:, column]) * widened
    return Contributions(clusters, within, between, weights, of_template)


@given(SOME, st.sampled_from([{"A": 1.0}, {"B": 0.5, "C": 0.5}, {"A": 0.5, "B": 0.25, "C": 0.25}]))
@settings(max_examples=60, deadline=None)
def test_contributions_are_those_of_each_template(outcomes: list[Outcome], shares: dict[str, float]) -> None:
    clusters = clusters_of(outcomes)
    counts = count(outcomes, "A", clusters)
    # Counts of another seed's outcomes too, so that some of the templates have no pairs.
    fewer = count([o for o in outcomes if o.base_entity != "e1"], "A", clusters)
    for counted in (counts, fewer):
        found, plain = (f(clusters, counted, shares) for f in (contributions_of, plain_contributions))
        for name in ("within", "between", "weights", "pairs"):
            assert np.array_equal(getattr(found, name), getattr(plain, name)), name


@given(SOME, SOME, st.sampled_from([{"A": 1.0}, {"B": 0.5, "C": 0.5}, {"A": 0.5, "B": 0.25, "C": 0.25}]))
@settings(max_examples=60, deadline=None)
def test_attributes_that_are_summed_together_have_the_variances_of_each_alone(
    outcomes: list[Outcome], further: list[Outcome], shares: dict[str, float]
) -> None:
    clusters = clusters_of([*outcomes, *further])
    split = contributions_of(clusters, count(outcomes, "A", clusters), shares)
    plain = []
    for columns in clusters.columns().values():
        used = columns[split.weights[columns] > 0]
        if (n := len(used)) > 1:
            within, factor = split.within[:, used], n / (n - 1)
            apart = float(np.sum(within**2)) - float(np.sum(within.sum(axis=1) ** 2)) / n
            seen = factor * float(np.sum(split.between[used] ** 2))
            plain.append(_OfAttribute(n, seen, factor * max(0.0, apart)))
    assert _of_attributes(split) == plain


def test_comparisons_are_differences_of_means_made_for_them_alone() -> None:
    """One method has no answer for an attribute, so that pairs of methods share different attributes."""
    everything = made(0, keep=1.0)
    split = SplitContext(TRACK, "city", "m", "context", "test", clusters_of(everything))
    had = {"das": "ABC", "mdas": "ABC", "lda": "AB", "pca": "BC"}
    seeds = [
        SeedOutcomes(method, a, (0,), lambda a=a, m=method: [made(len(m), 1.0, a)])  # type: ignore[misc]
        for method, attributes in had.items()
        for a in attributes
    ]
    estimates = estimate_methods(seeds, split)
    found = comparison_records(estimates, split)
    plain = []
    for first, second in combinations(sorted(estimates, key=lambda e: e.method), 2):
        shared = sorted(first.attributes.keys() & second.attributes.keys())
        means = [
            average_attributes({a: e.attributes[a] for a in shared}, TRACK.criterion).mean
            for e in (first, second)
        ]
        plain.append(((first.method, second.method, tuple(shared)), difference(*means)))
    assert [(r.first, r.second, r.attributes) for r in found] == [names for names, _ in plain]
    assert [r.measures for r in found] == [measured(minus, counted=False) for _, minus in plain]
    p_values = [minus[TRACK.criterion].p_value for _, minus in plain]
    assert [r.p for r in found] == p_values
    assert [r.p_adjusted for r in found] == holm(p_values)


@pytest.mark.parametrize("partition", ["val", "test"])
def test_outcomes_are_read_once_for_all_kinds_of_source(partition: Any) -> None:
    kinds = np.random.default_rng(1).choice(["all", *TRACK.kinds], 2_000).tolist()
    said = {
        (method, a): [replace(o, source_kind=k) for o, k in zip(made(i, 0.9, a), kinds, strict=False)]
        for i, (method, a) in enumerate([("das", "A"), ("das", "B"), ("lda", "A")])
    }
    split = SplitContext(TRACK, "city", "m", "context", partition, clusters_of(made(0, keep=1.0)))
    read: list[tuple[str, str]] = []

    def seeds_of(kind: Any) -> list[SeedOutcomes[Outcome]]:
        def reading(key: tuple[str, str]) -> list[Sequence[Outcome]]:
            read.append(key)
            return [of_kind(said[key], kind)]

        return [SeedOutcomes(*key, (0,), partial(reading, key)) for key in said]

    averages, comparisons = split_averages(seeds_of("all"), split)
    assert read == list(said)
    plain = [
        record
        for kind in ("all", *(TRACK.kinds if partition == "test" else ()))
        for record in average_records(
            estimate_methods(seeds_of(kind), split), replace(split, source_kind=kind)
        )
        if kind == "all" or record.cases
    ]
    assert averages == plain
    assert bool(comparisons) == (partition == "test")


class TestLinesThatWereReadBefore:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        outcomes = made(3)
        turned = [replace(o, said_swapped=not o.said_swapped, said_unchanged=False) for o in outcomes[:5]]
        for name, rows in (("first", outcomes), ("second", [*turned, *outcomes[5:]])):
            write_jsonl(tmp_path / name, (o.to_json() for o in rows))
            Outcome.read(tmp_path / name)
        return tmp_path / "second"

    def test_are_what_they_are_when_read_by_themselves(self, path: Path) -> None:
        plain = [Outcome.from_json(row, origin="plain") for _, row in read_jsonl(path)]
        assert Outcome.read(path) == plain

    def test_hide_no_fault_and_its_line_is_named(self, path: Path) -> None:
        lines = path.read_text().splitlines()
        for fault in ("{", json.dumps({"pair_id": "x"}), lines[2].replace("false", "0", 1), "", "[]"):
            path.write_text("\n".join([*lines[:2], fault, *lines[3:]]) + "\n")
            for _ in range(2):
                with pytest.raises(SuiteError, match=r"line 3\b"):
                    Outcome.read(path)

    def test_give_the_page_the_same_letters(self, path: Path) -> None:
        said = {o.pair_id: o for o in Outcome.read(path)}
        pairs = [*said.values(), replace(next(iter(said.values())), pair_id="unknown")]
        letters = ["s" if o.said_swapped else "u" if o.said_unchanged else "n" for o in said.values()]
        assert _answers(path, pairs) == "".join(letters) + "."  # type: ignore[arg-type]  # only ids are read

    def test_are_no_answers_on_the_page_where_they_are_no_outcomes(self, path: Path) -> None:
        path.write_text(path.read_text() + '{"pair_id": 1}\n')
        with pytest.raises(SuiteError, match=r"line \d+"):
            _answers(path, [])
