"""Diagnoses one subspace at its site: patches, measures, checks, a verdict; it knows no folder and no run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pydantic import PositiveInt
from torch import Tensor

from das.diagnostics.agreement import subspace_of
from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from evaluation.config.judging import DEFAULT_LABEL_TOKENS
from evaluation.judging.judge import InterchangeJudge
from evaluation.judging.score import require_pairs
from evaluation.records.diagnosis import Diagnosis, PatchScore
from evaluation.scoring.scores import FeaturizerId
from evaluation.validity.diagnosis.checks import NORMALISATION, checks_of, verdict_of
from evaluation.validity.diagnosis.measuring import MeasureInputs, answer_rows, measures_of
from evaluation.validity.diagnosis.patching import Patcher, mean_scores, no_patch
from evaluation.validity.diagnosis.plan import (
    PlannedPatch,
    beside,
    directions_of,
    orthogonal,
    parts_of,
    random_parts,
    readers_of,
)
from evaluation.validity.diagnosis.sample import draw_sample
from ravel.common.config import Config
from ravel.common.errors import one_of
from ravel.instance import Instance
from ravel.terms.schema import TRAIN_SPLIT, Generalisation, Partition, split_name

Report = Callable[[int, int], None]


class DiagnosisConfig(Config):
    """On which pairs a subspace is diagnosed, and how much is drawn."""

    generalisation: Generalisation = "context"
    """What is held out."""
    partition: Partition = "val"
    """`val`, so that nothing is chosen on test pairs; or `test`."""
    limit_pairs: PositiveInt = 200
    """Most cause pairs, and most isolate pairs over all other attributes."""
    random_draws: PositiveInt = 3
    """Random subspaces of equal size, whose mean counts."""
    natural_prompts: PositiveInt = 1000
    """Most training prompts from which natural states and ranges are taken."""
    label_tokens: PositiveInt = DEFAULT_LABEL_TOKENS
    """How many of an answer's first tokens are compared."""
    tolerance: bool = True
    """Let an answer that is close count where the attribute's matcher does."""
    seed: int = 0
    """Root of the streams that draw pairs, prompts and random subspaces."""


def settings_of(config: DiagnosisConfig, *, siblings: int, shuffled: bool) -> dict[str, Any]:
    """Return what a diagnosis rests on besides its pairs' split, as plain values."""
    plain = config.model_dump(mode="json", exclude={"generalisation", "partition"})
    return {**plain, "siblings": siblings, "shuffled": shuffled}


def diagnose(
    featurizer: Featurizer,
    instance: Instance,
    engine: Engine,
    featurizer_id: FeaturizerId,
    attribute: str,
    config: DiagnosisConfig | None = None,
    *,
    shuffled: Featurizer | None = None,
    siblings: Sequence[Featurizer] = (),
    progress: Report | None = None,
) -> Diagnosis:
    """Diagnose a subspace for one target attribute, on the pairs of one split.

    `featurizer_id` says whose subspace it is and where; `shuffled` is the same method's on shuffled labels,
    `siblings` are those of its other seeds. Follows Makelov, Lange, Nanda 2024 (arXiv 2311.17030) and the
    reply by Wu et al. 2024 (arXiv 2401.12631), with readers in place of one output matrix, subspaces in place
    of one direction, and the normalisation named. Thresholds are conventions (`THRESHOLDS`).

    Natural states, gradients and the answers' unembedding are those of training pairs, so that what a
    subspace is held against has not seen the pairs either. Equal arguments give equal diagnoses.

    Raises SuiteError for a featurizer that is no subspace, an unknown attribute, a split without pairs and a
    site that the model lacks; NotApplicableError for a split without pairs of the attribute.
    """
    config = config or DiagnosisConfig()
    _require(featurizer, instance, engine, featurizer_id, attribute, config)
    split = split_name(config.generalisation, config.partition)
    sample = draw_sample(instance, attribute, split, limit=config.limit_pairs, seed=config.seed)
    judge = InterchangeJudge(engine, label_tokens=config.label_tokens, tolerance=config.tolerance)
    patcher = Patcher(sample, judge, featurizer_id.site)
    inputs = _measure_inputs(featurizer, instance, patcher, siblings, config)
    patches = _patches(inputs, _planned(inputs, shuffled), progress or _unheard)
    measures = measures_of(inputs)
    checks = checks_of(patches, measures)
    return Diagnosis(
        method=featurizer_id.method,
        attribute=attribute,
        entity_type=featurizer_id.entity_type,
        model=featurizer_id.model,
        site=str(featurizer_id.site),
        size=int(inputs.basis.shape[1]),
        width=int(inputs.basis.shape[0]),
        seed=featurizer_id.seed,
        generalisation=config.generalisation,
        partition=config.partition,
        n_cause=sample.n_cause,
        n_isolate=sample.n_isolate,
        settings=settings_of(config, siblings=len(siblings), shuffled=shuffled is not None),
        normalisation=NORMALISATION,
        patches=patches,
        measures=measures,
        checks=checks,
        verdict=verdict_of(checks),
    )


def _measure_inputs(
    featurizer: Featurizer,
    instance: Instance,
    patcher: Patcher,
    siblings: Sequence[Featurizer],
    config: DiagnosisConfig,
) -> MeasureInputs:
    """Patch the subspace itself, and gather what it is held against from training pairs."""
    engine, site, attribute = patcher.judge.engine, patcher.site, patcher.sample.attribute
    train = draw_sample(instance, attribute, TRAIN_SPLIT, limit=config.limit_pairs, seed=config.seed)
    pairs = train.contrast_pairs
    basis = subspace_of(featurizer)
    width, size = int(basis.shape[0]), int(basis.shape[1])
    return MeasureInputs(
        instance=instance,
        featurizer=featurizer,
        basis=basis,
        patcher=patcher,
        full=patcher.judged("full", featurizer),
        site_readers=readers_of(pairs, engine, site),
        # A head's output is no stream vector, and norms may stand between other modules and the stream.
        readout=answer_rows(pairs, engine) if site.stream == "block_output" and pairs else None,
        draws=random_parts(width, size, config.random_draws, config.seed) if size else [],
        siblings=tuple(siblings),
        limit=config.natural_prompts,
        seed=config.seed,
    )


def _unheard(done: int, total: int) -> None:
    """Drop the report."""


def _require(
    featurizer: Featurizer,
    instance: Instance,
    engine: Engine,
    featurizer_id: FeaturizerId,
    attribute: str,
    config: DiagnosisConfig,
) -> None:
    """Raise SuiteError for what can't be diagnosed."""
    subspace_of(featurizer)
    engine.target.check(featurizer_id.site)
    one_of(f"attribute of this {instance.entity_type} instance", attribute, instance.attributes)
    require_pairs(instance, split_name(config.generalisation, config.partition))


def _patches(
    inputs: MeasureInputs, planned: Sequence[PlannedPatch], report: Report
) -> tuple[PatchScore, ...]:
    """Judge what is planned, in order, after the full patch; the random draws become one mean."""
    patcher, draws = inputs.patcher, inputs.draws
    total = 2 + len(draws) + len(planned)
    nothing = patcher.judged("nothing", None).score
    report(2, total)
    drawn = []
    for number, draw in enumerate(draws, start=3):
        drawn.append(patcher.judged("random", draw).score)
        report(number, total)
    random = (
        mean_scores("random", f"{len(draws)} draws", drawn)
        if drawn
        else no_patch("random", "", "the featurizer swaps no direction")
    )
    scores = [nothing, inputs.full.score, random]
    for number, plan in enumerate(planned, start=3 + len(draws)):
        scores.append(_patch(patcher, plan, nothing))
        report(number, total)
    return tuple(scores)


def _patch(patcher: Patcher, plan: PlannedPatch, nothing: PatchScore) -> PatchScore:
    if plan.featurizer is None:
        return no_patch(plan.name, plan.about, plan.reason)
    if plan.same_as_nothing:
        return replace(nothing, name=plan.name, about=plan.about)
    return patcher.judged(plan.name, plan.featurizer, plan.about, at=plan.at).score


def _planned(inputs: MeasureInputs, shuffled: Featurizer | None) -> list[PlannedPatch]:
    """Return all patches but the full one and the random ones."""
    size, readers = int(inputs.basis.shape[1]), inputs.site_readers
    no_control = "" if shuffled else "none of the same method was given"
    return [
        *orthogonal(inputs.featurizer, inputs.basis),
        *parts_of(inputs.basis, readers),
        PlannedPatch("shuffled", "", shuffled, reason=no_control),
        _top("readout", inputs.readout, size, "the site is not in the residual stream"),
        _top("gradient", readers.gradients, size, "no pair has a gradient here"),
        *beside(inputs.patcher.site, inputs.patcher.judge.engine),
    ]


def _top(name: str, rows: Tensor | None, size: int, missing: str) -> PlannedPatch:
    directions = None if rows is None else directions_of(rows, size)
    if directions is None:
        return PlannedPatch(name, "", None, reason=missing)
    about = "" if directions.size == size else f"{directions.size} directions are all there are"
    return PlannedPatch(name, about, directions)
