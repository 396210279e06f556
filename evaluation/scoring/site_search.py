"""Which sites to fit at, told from what a swap of the whole vector does there on validation cases, and what
that saves and costs; it knows no model and reads no file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from das.sites import Site
from evaluation.config.suite import PROFILE, SiteSearch
from evaluation.records.scores import ScoreRecord
from evaluation.scoring.mean import mean
from evaluation.scoring.track import Track
from evaluation.scoring.transport import PatchEffects, transport_shares
from ravel.common.errors import SuiteError
from ravel.common.seeds import grouped

SiteMerits = Mapping[str, Mapping[str, float]]
"""By attribute and site, what the sites are ranked by: more is better."""


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """What it would come to, or came to, to fit at some sites alone."""

    kept: int
    """Sites kept for each attribute."""
    fits: float
    """Share of the fits at all sites that this takes, those of the references aside."""
    regret: float | None
    """Mean over methods and attributes of the criterion of the best site minus that of the best kept one, on
    validation cases; None where nothing was fitted at the other sites."""
    worst: float | None
    """The largest of them."""
    n: int
    """How many methods and attributes."""
    sites: tuple[str, ...]
    """Every site that is kept for some attribute."""


def site_merits(records: Iterable[ScoreRecord], rule: SiteSearch, track: Track[Any]) -> SiteMerits:
    """Return what a rule says of each site for each attribute, from the validation records of the profile.

    `full_vector`: how much a swap of the whole vector has of what it bounds, of interchange cause, averaged
    over attributes, the same for all. `transport`: the share of an attribute's mass that goes to the site.
    Raises SuiteError for `transport` with fewer than two attributes, or without cause and isolate of each at
    each site.
    """
    own = [r for r in records if r.method == PROFILE and (r.partition, r.source_kind) == ("val", "all")]
    attributes = sorted({record.attribute for record in own})
    if rule == "transport":
        return _transported(own, attributes)
    measure = track.criterion_of(PROFILE)
    found: dict[str, list[float]] = {}
    for record in own:
        if (value := record.value(measure)) is not None:
            found.setdefault(record.site, []).append(value)
    merits = {site: track.merit(measure, sum(values) / len(values)) for site, values in found.items()}
    return dict.fromkeys(attributes, merits)


def _transported(records: Sequence[ScoreRecord], attributes: Sequence[str]) -> SiteMerits:
    sites = grouped(records, lambda record: record.site)
    effects = {site: found for site, own in sites.items() if (found := _effects(own, attributes)) is not None}
    if len(attributes) < 2 or not effects:
        raise SuiteError(
            expected=f"cause and isolate of {PROFILE} for two attributes at least, between which transport "
            "tells sites apart",
            came=f"those of {len(attributes)}" if effects else "none",
            todo="leave `site_search` out, or use an instance with more attributes",
        )
    return transport_shares(effects, attributes)


def _effects(records: Sequence[ScoreRecord], attributes: Sequence[str]) -> PatchEffects | None:
    """Return the effects of one site, averaged over generalisations; None where a score is missing.

    Isolate of an attribute is the mean of what the others keep, so what each keeps follows from all of them.
    """
    own = grouped(records, lambda record: record.attribute)
    brought = {a: mean([r.value("cause") for r in own.get(a, [])]) for a in attributes}
    isolate = {a: mean([r.value("isolate") for r in own.get(a, [])]) for a in attributes}
    if None in brought.values() or None in isolate.values():
        return None
    total = sum(value for value in isolate.values() if value is not None)
    kept = {a: total - (len(attributes) - 1) * (value or 0.0) for a, value in isolate.items()}
    return PatchEffects({a: value or 0.0 for a, value in brought.items()}, kept)


def best_sites(merits: SiteMerits, count: int) -> dict[str, dict[str, float]]:
    """Return by attribute the sites of most merit with it, the best first; of equal ones the lower layer."""
    return {
        attribute: {site: found[site] for site in sorted(found, key=lambda s: _order(found, s))[:count]}
        for attribute, found in merits.items()
    }


def _order(merits: Mapping[str, float], site: str) -> tuple[float, int, str]:
    # To nine digits, so that what is equal but for rounding is.
    return -round(merits[site], 9), Site.parse(site).layer, site


def search_outcomes(
    records: Sequence[ScoreRecord], rule: SiteSearch, track: Track[Any]
) -> list[SearchOutcome]:
    """Return what a rule would have come to, for every number of sites below all of them, if it had said
    where to fit; of a run that fitted at some sites alone, for as many as those. Raises SuiteError as
    `site_merits`."""
    merits = site_merits(records, rule, track)
    fitted = _best_values(records, track)
    everywhere = {site for found in merits.values() for site in found}
    most = max((len(found) for found in fitted.values()), default=0)
    counts = range(1, len(everywhere)) if most == len(everywhere) else [most] if most else []
    return [_outcome(best_sites(merits, count), fitted, everywhere, count) for count in counts]


def _outcome(
    kept: Mapping[str, Mapping[str, float]],
    fitted: Mapping[tuple[str, str], Mapping[str, float]],
    everywhere: Collection[str],
    count: int,
) -> SearchOutcome:
    regrets = [
        max(found.values()) - max(found[site] for site in kept[attribute])
        for (_, attribute), found in fitted.items()
        if found.keys() == set(everywhere)
    ]
    return SearchOutcome(
        kept=count,
        fits=count / len(everywhere),
        regret=mean(regrets),
        worst=max(regrets, default=None),
        n=len(regrets),
        sites=tuple(sorted({site for found in kept.values() for site in found})),
    )


def _best_values(
    records: Sequence[ScoreRecord], track: Track[Any]
) -> dict[tuple[str, str], dict[str, float]]:
    """Return by method and attribute the merit of the criterion at each site: the mean over generalisations,
    seeds and settings, at the best size. References are left out."""
    found: dict[tuple[str, str], dict[str, dict[int, list[float]]]] = {}
    for record in records:
        value = record.value(track.criterion)
        counts = (record.partition, record.source_kind) == ("val", "all") and value is not None
        if counts and not track.set_apart(record.method):
            sizes = found.setdefault((record.method, record.attribute), {}).setdefault(record.site, {})
            sizes.setdefault(record.size, []).append(track.merit(track.criterion, value or 0.0))
    return {
        key: {site: max(sum(v) / len(v) for v in sizes.values()) for site, sizes in sites.items()}
        for key, sites in found.items()
    }
