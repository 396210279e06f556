"""Does the score order what was found as the truth does? Rank correlations with intervals; no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from evaluation.records.planted import ILLUSION, PLANTED_SCHEMA_VERSION, TRUTH, PlantedRecord, ValidityRecord
from ravel.common.seeds import grouped, numpy_stream
from ravel.terms.schema import GENERALISATIONS, SOURCE_KINDS, SourceKind

Variant = Callable[[PlantedRecord], float | None]

RESAMPLES = 1000
_FLOOR = "random_subspace"
_NOTHING = 0.5
"""Disentangle of doing nothing: cause 0 and isolate 1."""
_LEAST_FITS = 3


def _weighted(share: float) -> Variant:
    return lambda record: share * record.cause + (1 - share) * record.isolate


def _of_kind(kind: SourceKind) -> Variant:
    def score(record: PlantedRecord) -> float | None:
        cause, isolate = record.by_kind.get(kind, (None, None))
        return None if cause is None or isolate is None else (cause + isolate) / 2

    return score


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "disentangle": lambda record: record.disentangle,
        "cause": lambda record: record.cause,
        "isolate": lambda record: record.isolate,
        "3/4 cause + 1/4 isolate": _weighted(0.75),
        "1/4 cause + 3/4 isolate": _weighted(0.25),
        "minimum of both": lambda record: min(record.cause, record.isolate),
        "product of both": lambda record: record.cause * record.isolate,
        **{f"disentangle, {kind.replace('_', ' ')} sources": _of_kind(kind) for kind in SOURCE_KINDS},
    }
)
"""Scores that could be reported instead; each from 0 to 1."""


def score_variants(records: Sequence[PlantedRecord]) -> dict[str, list[float | None]]:
    """Return every variant of the score for each record, in order.

    `above the floor` is disentangle minus that of a random subspace of the same size for the same target, or
    minus that of doing nothing where no such row is there.
    """
    floors: dict[tuple[str, bool, str, str, int], list[float]] = {}
    for record in records:
        if record.method == _FLOOR:
            floors.setdefault(_floor_key(record), []).append(record.disentangle)
    found = {name: [variant(record) for record in records] for name, variant in VARIANTS.items()}
    found["above the floor"] = [
        r.disentangle - float(np.mean(floors.get(_floor_key(r), [_NOTHING]))) for r in records
    ]
    return found


def validity(records: Sequence[PlantedRecord], *, seed: int = 0) -> list[ValidityRecord]:
    """Return, per generalisation and variant, the rank correlation between score and truth.

    The rows `truth` and `illusion` are left out: no method found them. Within a target (a world's attribute)
    fits of all methods, sizes and seeds are ordered by the score and by their similarity to the truth.
    """
    fits = [record for record in records if record.method not in (TRUTH, ILLUSION)]
    rows: list[ValidityRecord] = []
    for generalisation in GENERALISATIONS:
        counted = [record for record in fits if record.generalisation == generalisation]
        if not counted:
            continue
        for name, values in score_variants(counted).items():
            rows.append(_validity(name, counted, values, seed))
    return rows


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation, ties sharing their mean rank; None for fewer than three values or
    where one side does not vary."""
    if len(first) != len(second):
        raise ValueError(f"ranks of {len(first)} and of {len(second)} values can't be compared")
    if len(first) < _LEAST_FITS:
        return None
    ours, theirs = _ranks(first), _ranks(second)
    if not np.ptp(ours) or not np.ptp(theirs):
        return None
    return float(np.corrcoef(ours, theirs)[0, 1])


def _validity(
    name: str, records: Sequence[PlantedRecord], values: Sequence[float | None], seed: int
) -> ValidityRecord:
    known = [(r, v) for r, v in zip(records, values, strict=True) if v is not None]
    methods = sorted({record.method for record, _ in known})
    groups = _by_target(known)
    n = len(methods)
    drawn = numpy_stream(seed, "validity").integers(0, n, size=(RESAMPLES, n))
    weights = np.stack([np.bincount(row, minlength=n) for row in drawn]).astype(np.float64)
    draws = np.array([_mean_correlation(groups, methods, row) for row in weights], dtype=np.float64)
    defined = draws[~np.isnan(draws)]
    interval = None
    if len(defined) > RESAMPLES // 2:
        low, high = np.quantile(defined, [0.025, 0.975])
        interval = (float(low), float(high))
    mean = _mean_correlation(groups, methods, np.ones(len(methods)))
    return ValidityRecord(
        schema_version=PLANTED_SCHEMA_VERSION,
        variant=name,
        generalisation=records[0].generalisation,
        worlds=tuple(sorted({_world(record) for record, _ in known})),
        rank_correlation=None if np.isnan(mean) else float(mean),
        interval=interval,
        pooled=spearman([v for _, v in known], [r.similarity for r, _ in known]),
        methods=len(methods),
        fits=len(known),
    )


def _floor_key(record: PlantedRecord) -> tuple[str, bool, str, str, int]:
    return record.world, record.rotated, record.attribute, record.generalisation, record.found


def _world(record: PlantedRecord) -> str:
    return record.world if record.rotated else f"{record.world}, not rotated"


def _by_target(
    known: Sequence[tuple[PlantedRecord, float]],
) -> list[tuple[list[str], NDArray[np.float64], NDArray[np.float64]]]:
    """Return methods, scores and similarities of the fits of each target."""
    groups = grouped(known, lambda one: (_world(one[0]), one[0].attribute))
    return [
        (
            [record.method for record, _ in group],
            np.array([value for _, value in group]),
            np.array([record.similarity for record, _ in group]),
        )
        for group in groups.values()
    ]


def _mean_correlation(
    groups: Sequence[tuple[list[str], NDArray[np.float64], NDArray[np.float64]]],
    methods: Sequence[str],
    counts: NDArray[np.float64],
) -> float:
    """Return the mean over targets of the correlation, methods counted so often; NaN if none is defined."""
    by_method = dict(zip(methods, counts, strict=True))
    found = []
    for names, values, truths in groups:
        weights = np.array([by_method[name] for name in names])
        drawn = np.repeat(np.arange(len(names)), weights.astype(int))
        correlation = spearman(values[drawn].tolist(), truths[drawn].tolist())
        if correlation is not None:
            found.append(correlation)
    return float(np.mean(found)) if found else float("nan")


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    # Rounded, so that scores that differ in the last bit only are ties on every machine.
    rounded = np.round(np.asarray(values, dtype=np.float64), 12)
    _, places, counts = np.unique(rounded, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks
