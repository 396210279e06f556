"""What every engine refuses before it runs anything; no model is run here."""

from __future__ import annotations

from collections.abc import Sequence

from das.engine.base.protocol import ForcedPair
from das.finding import Actor
from das.models.base import TargetModel
from das.sites import Site
from ravel.common.errors import SuiteError


def check_sites(sites: Sequence[Site], target: TargetModel) -> None:
    """Raise SuiteError unless the target has every site."""
    for site in sites:
        target.check(site)


def check_pairs(pairs: Sequence[ForcedPair]) -> None:
    """Raise SuiteError if a pair has no label token."""
    for pair in pairs:
        if not pair.label_ids:
            raise SuiteError(
                expected="at least one label token for every pair",
                came=f"none for the base {pair.base.text!r}",
                todo="rebuild the instance; every label needs its token ids",
            )


def check_featurizer(featurizer: Actor | None, target: TargetModel, site: Site) -> None:
    """Raise SuiteError unless the featurizer acts on vectors of the site's width."""
    width = target.width(site)
    if featurizer is not None and featurizer.width != width:
        raise SuiteError(
            expected=f"a featurizer for vectors of width {width}, as {target.name} has at {site}",
            came=f"one for width {featurizer.width}",
            todo="use the featurizer with the model and the stream it was made for",
        )


def check_row_lengths(lengths: Sequence[int], target: TargetModel) -> None:
    """Raise SuiteError if a row of tokens is longer than the target can read."""
    limit = target.max_tokens
    longest = max(lengths, default=0)
    if limit is not None and longest > limit:
        raise SuiteError(
            expected=f"at most {limit} tokens, the context of {target.name}",
            came=f"a prompt that needs {longest} with its continuation",
            todo="shorten the templates or choose a model with a longer context",
        )
