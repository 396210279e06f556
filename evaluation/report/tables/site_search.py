"""The table of what it would have come to to fit at fewer sites; it works out nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evaluation.config.suite import PROFILE, SiteSearch
from evaluation.records.measured import INTERCHANGE
from evaluation.records.scores import ScoreRecord
from evaluation.report.tables.model import Column, Place, Row, Table, TableCell
from evaluation.report.tables.notes import sites_text
from evaluation.scoring.site_search import SearchOutcome, search_outcomes
from evaluation.scoring.track import Track
from ravel.common.errors import SuiteError

_NOTES = (
    "full_vector keeps the sites where a swap of the whole vector brings most, the same for all attributes; "
    "transport, for each attribute, those where it parts from the others. Both are read from full_vector on "
    "validation pairs, which takes no training and is judged at every site.",
    "fits: share of the fits at all sites that are left to do, references aside.",
)


def site_table(scores: Sequence[ScoreRecord], track: Track[Any]) -> Table:
    """Return fits and regret for each way to search sites and number of sites kept.

    Raises SuiteError for scores of full_vector at fewer than two sites.
    """
    profiled = {r.site for r in scores if r.method == PROFILE and r.partition == "val"}
    if len(profiled) < 2:
        raise SuiteError(
            expected=f"validation scores of {PROFILE} at two sites at least, to make a table of sites of",
            came=f"those at {len(profiled)}",
            todo="run a suite with several sites, such as block_output.*@entity_last, and `floors` on",
        )
    found = {rule: search_outcomes(scores, rule, track) for rule in _rules(scores, track)}
    rows = [_row(rule, one, len(profiled)) for rule, outcomes in found.items() for one in outcomes]
    regret = (
        f"regret: {track.criterion} of the best site minus that of the best kept one, on validation "
        f"{track.unit}, mean over methods and attributes, each at its best size; worst: the largest. Empty "
        "where nothing was fitted at the other sites."
    )
    return Table(
        name="sites",
        title=f"Fits saved and lost by fitting at some of {len(profiled)} sites, validation {track.unit}",
        block_header="sites kept by",
        columns=tuple(Column("validation", name, name) for name in ("fits", "regret", "worst")),
        rows=tuple(rows),
        notes=(*_NOTES, regret),
        unit="methods and attributes",
    )


def _rules(scores: Sequence[ScoreRecord], track: Track[Any]) -> Sequence[SiteSearch]:
    several = len({record.attribute for record in scores if record.method == PROFILE}) > 1
    return ("full_vector", "transport") if track.name == INTERCHANGE and several else ("full_vector",)


def _row(rule: str, found: SearchOutcome, sites: int) -> Row:
    cells = tuple(TableCell(value, None, found.n) for value in (found.fits, found.regret, found.worst))
    return Row(
        rule, f"{found.kept} of {sites}", sites_text(found.sites), False, cells, Place(sites=found.sites)
    )
