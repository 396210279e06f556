"""Numbers about a subspace that no answer is judged for: variance, natural states, readout, hidden pathways,
seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from das.diagnostics.agreement import agreement
from das.diagnostics.natural import NaturalStates, dormant_share, variance_share
from das.diagnostics.patches import null_share, soft_null_share
from das.diagnostics.pathway import NaturalRanges, clamped, hidden_pathway_contribution
from das.diagnostics.readers import unembedding_rows
from das.diagnostics.readout import readout_share
from das.diagnostics.share import Share
from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.methods.common.base import NotApplicableError
from das.methods.common.contrast import ContrastPair
from evaluation.records.diagnosis import Measure
from evaluation.validity.diagnosis.gradients import leading_rows
from evaluation.validity.diagnosis.patching import JudgedPatch, Patcher
from evaluation.validity.diagnosis.plan import GRADIENT, READER_ENERGY, SiteReaders
from evaluation.validity.diagnosis.sample import (
    LogitDifference,
    logit_differences,
    natural_prompts,
    vectors_of,
)
from ravel.common.errors import SuiteError
from ravel.instance import Instance

BEYOND = 99.0
"""Percentile of natural states beyond which a patched one counts as far out."""
LOUDER = 0.05
"""By how much an answer's probability must exceed that of a natural run to count as louder."""
READOUT_ENERGY = 0.9
"""Share of the answers' unembedding rows, less their mean, that the readout directions hold."""
MOST_CHANCE = 0.5
"""Chance at which a share in a span says nothing: the span is most of the space."""


@dataclass(frozen=True, slots=True)
class MeasureInputs:
    """What measures are made of."""

    instance: Instance
    """The whole instance: natural states are those of its training prompts."""
    featurizer: Featurizer
    """What is diagnosed."""
    basis: Tensor
    """Its directions, [width, k] in float64."""
    patcher: Patcher
    """The pairs, and the logits of their answers."""
    full: JudgedPatch
    """The featurizer's own patch."""
    site_readers: SiteReaders
    """What reads the site."""
    readout: Tensor | None
    """Directions of the answers' unembedding as rows, [n, width]; None where the site has none."""
    draws: Sequence[Featurizer]
    """Random subspaces of equal size."""
    siblings: Sequence[Featurizer]
    """The same row's featurizers of other seeds."""
    limit: int
    """Most prompts of natural states and ranges."""
    seed: int
    """Root of the draw of prompts."""


def measures_of(found: MeasureInputs) -> tuple[Measure, ...]:
    """Return all measures; what has no value says why."""
    reason = _nothing_to_measure(found)
    if reason:
        return tuple(Measure(name, None, "", reason) for name in _NAMES)
    return (
        *_natural(found),
        *_readouts(found),
        *_unseen(found),
        *_loudness(found),
        *_pathways(found),
        *_siblings(found),
    )


def _nothing_to_measure(found: MeasureInputs) -> str:
    if not found.basis.shape[1]:
        return "the featurizer swaps no direction"
    return "" if found.patcher.sample.contrast_pairs else "no token tells any pair's two answers apart"


_DISTANCES = ("mahalanobis", "mahalanobis_excess", "neighbours", "neighbours_excess")
_NAMES = (
    *("variance_share", "variance_ratio", "dormant_share", "dormant_excess", *_DISTANCES),
    *("readout_share", "readout_excess", "fldd_above_one", "louder_than_natural", "hidden_pathway"),
    "seeds_agree",
)


def answer_rows(pairs: Sequence[ContrastPair], engine: Engine) -> Tensor:
    """Return the unembedding rows of the pairs' answers less their mean, [n_tokens, d_model].

    Only what holds `READOUT_ENERGY` of them: with as many answers as directions their span is everything.
    """
    ids = sorted({i for pair in pairs for i in (pair.unchanged_id, pair.swapped_id)})
    rows = unembedding_rows(engine.target, ids)
    return leading_rows(rows - rows.mean(dim=0), READOUT_ENERGY)


def _natural(found: MeasureInputs) -> list[Measure]:
    patcher = found.patcher
    engine, site, pairs = patcher.judge.engine, patcher.site, patcher.sample.contrast_pairs
    natural = vectors_of(natural_prompts(found.instance, limit=found.limit, seed=found.seed), engine, site)
    base = vectors_of([pair.forced.base for pair in pairs], engine, site)
    source = vectors_of([pair.forced.source for pair in pairs], engine, site)
    states = [_patched(featurizer, base, source) for featurizer in (found.featurizer, *found.draws)]
    return [
        *_variance(found.basis, natural),
        *_beyond_chance("dormant", lambda: dormant_share(states[0] - base, natural)),
        *_distances(natural, base, states[0], torch.cat(states[1:])),
    ]


def _patched(featurizer: Featurizer, base: Tensor, source: Tensor) -> Tensor:
    return featurizer.to("cpu").interchange(base.float(), source.float()).double()


def _variance(basis: Tensor, natural: Tensor) -> list[Measure]:
    try:
        found = variance_share(basis, natural)
    except SuiteError as refusal:
        return [Measure(name, None, "", str(refusal)) for name in ("variance_share", "variance_ratio")]
    return [
        Measure("variance_share", found.share, f"by chance {found.chance:.3f}"),
        Measure("variance_ratio", found.share / found.chance, "1 for as many average directions"),
    ]


def _beyond_chance(name: str, share: Callable[[], Share], most_chance: float = 1.0) -> list[Measure]:
    """Return a share and how far it is beyond chance, from 0 to 1, unless chance is `most_chance` or more."""
    plain, excess = f"{name}_share", f"{name}_excess"
    try:
        found = share()
    except SuiteError as refusal:
        return [Measure(each, None, "", str(refusal)) for each in (plain, excess)]
    shown = Measure(plain, found.share, f"by chance {found.chance:.3f}")
    if found.chance >= most_chance:
        reason = f"{found.directions} directions are {found.chance:.0%} of the space: a share says nothing"
        return [shown, Measure(excess, None, "", reason)]
    beyond = max(0.0, found.share - found.chance) / (1 - found.chance)
    return [shown, Measure(excess, beyond, "(share - chance) / (1 - chance), at least 0")]


def _distances(natural: Tensor, base: Tensor, patched: Tensor, random: Tensor) -> list[Measure]:
    """Return how many patched states are far from natural ones, also beyond those of random subspaces.

    Any swap of a part mixes two natural states into one that is none, so that far is what random subspaces
    of equal size are too.
    """
    try:
        states = NaturalStates.fit(natural, torch.unique(base, dim=0))
        distances = {
            "mahalanobis": (states.mahalanobis_percentiles(patched), states.mahalanobis_percentiles(random)),
            "neighbours": (states.neighbour_percentiles(patched), states.neighbour_percentiles(random)),
        }
    except SuiteError as refusal:
        return [Measure(name, None, "", str(refusal)) for name in _DISTANCES]
    against = f"against {len(states.held_out)} unpatched bases and {len(natural)} natural states"
    return [m for name, (own, others) in distances.items() for m in _far(name, own, others, against)]


def _far(name: str, own: Tensor, others: Tensor, against: str) -> list[Measure]:
    share, chance = (float((found > BEYOND).double().mean()) for found in (own, others))
    return [
        Measure(name, share, f"share beyond {BEYOND:g} %, {against}; of random subspaces {chance:.3f}"),
        Measure(f"{name}_excess", share - chance, "beyond that of random subspaces of equal size"),
        Measure(f"{name}_percentile", float(own.median()), "median percentile of patched states"),
    ]


def _readouts(found: MeasureInputs) -> list[Measure]:
    if found.readout is None:
        reason = "the site's vector is not in the units of the residual stream"
        return [Measure(name, None, "", reason) for name in ("readout_share", "readout_excess")]
    rows = found.readout
    return _beyond_chance("readout", lambda: readout_share(found.basis, rows), MOST_CHANCE)


def _unseen(found: MeasureInputs) -> list[Measure]:
    measures = []
    for reader in found.site_readers.readers:
        exact = null_share(found.basis, reader.matrix)
        measures.append(Measure(f"null_share_{reader.name}", exact.share, f"by chance {exact.chance:.3f}"))
        if reader.name != GRADIENT:
            soft = soft_null_share(found.basis, reader.matrix, READER_ENERGY)
            words = f"{READER_ENERGY:.0%} of its energy counts as unseen; by chance {soft.chance:.3f}"
            measures.append(Measure(f"soft_null_share_{reader.name}", soft.share, words))
    return measures


def _loudness(found: MeasureInputs) -> list[Measure]:
    patcher, logits = found.patcher, found.full.logits
    turned = float((logits.difference < 0).double().mean())
    return [
        Measure("fldd_above_one", turned, "share of cause pairs that lean to the source's answer (FLDD > 1)"),
        Measure(
            "louder_than_natural",
            patcher.louder(logits, LOUDER),
            f"share of cause pairs whose source answer beats its natural probability by over {LOUDER:g}",
        ),
    ]


def _pathways(found: MeasureInputs) -> list[Measure]:
    """Return how much is lost where hidden units above the site stay in their natural ranges.

    For comparison also what the whole vector loses: it brings nothing that no natural run has, so that what
    it loses is due to ranges from finitely many prompts.
    """
    patcher = found.patcher
    try:
        engine = clamped(patcher.judge.engine.target, _ranges(found))
    except NotApplicableError as refusal:
        return [Measure("hidden_pathway", None, "", str(refusal))]
    whole = MaskedBasis(torch.ones(len(found.basis)), None)
    free = logit_differences(patcher.sample.contrast_pairs, patcher.judge.engine, patcher.site, whole)
    return [
        _pathway("hidden_pathway", patcher, engine, found.featurizer, found.full.logits),
        _pathway("hidden_pathway_full_vector", patcher, engine, whole, free),
    ]


def _ranges(found: MeasureInputs) -> NaturalRanges:
    """Record ranges in natural runs of both answers of every pair, and of training prompts."""
    pairs = found.patcher.sample.contrast_pairs
    others = natural_prompts(found.instance, limit=found.limit, seed=found.seed)
    prompts = [*(pair.swapped for pair in pairs), *(pair.forced.base for pair in pairs), *others]
    labels = [*(pair.forced.label_ids for pair in pairs)] * 2 + [()] * len(others)
    return NaturalRanges.record(found.patcher.judge.engine.target, found.patcher.site, prompts, labels)


def _pathway(
    name: str, patcher: Patcher, engine: Engine, featurizer: Featurizer, free: LogitDifference
) -> Measure:
    placed = featurizer.to(engine.target.device)
    kept = logit_differences(patcher.sample.contrast_pairs, engine, patcher.site, placed)
    lost = hidden_pathway_contribution(-free.difference, -kept.difference, -patcher.base.difference)
    if lost.contribution is None:
        return Measure(name, None, "", "no pair leans to the source's answer, so none has anything to lose")
    detail = f"over {lost.counted} pairs that lean to the source's answer; {lost.answers_lost:.0%} turn back"
    return Measure(name, lost.contribution, detail)


def _siblings(found: MeasureInputs) -> list[Measure]:
    if not found.siblings:
        return [Measure("seeds_agree", None, "", "one seed only")]
    try:
        shared = agreement([found.featurizer, *found.siblings])
    except SuiteError as refusal:
        return [Measure("seeds_agree", None, "", str(refusal))]
    if shared.overlap is None or shared.chance is None:
        return [Measure("seeds_agree", None, "", "the subspaces have no angle")]
    detail = f"{shared.pairs} pairs of seeds, mean angle {shared.mean_angle:.1f} degrees"
    return [Measure("seeds_agree", shared.overlap, f"{detail}; by chance {shared.chance:.3f}")]
