"""What the model says to each pair after the interchange, judged against both answers; it knows no target and
no score.

A greedy output begins with a label exactly when, with that label forced after the prompt, each forced
position's argmax is the label's token. No text is generated, so judging by a tolerance matcher (latitude
within two degrees) is not done here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from das.engine.protocol import Choice, Engine
from das.featurizers.base import Featurizer
from das.sites import Site
from evaluation.records import Outcome
from ravel.common.errors import SuiteError
from ravel.instance import Instance
from ravel.schema import InterchangePair

__all__ = ["DEFAULT_LABEL_TOKENS", "judge"]

DEFAULT_LABEL_TOKENS = 3
_CHUNK = 1024
"""Pairs between two reports of progress."""


@dataclass(frozen=True, slots=True)
class _Case:
    """A pair with the token ids of both answers, cut where they are told apart."""

    pair: InterchangePair
    """The pair."""
    choice: Choice
    """Base and source prompts, and the ids of `if_unchanged` and `if_swapped`: never equal, though one may
    begin with the other."""


def judge(
    instance: Instance,
    split: str,
    engine: Engine,
    site: Site,
    featurizer: Featurizer | None,
    *,
    label_tokens: int = DEFAULT_LABEL_TOKENS,
    progress: Callable[[int, int], None] | None = None,
) -> list[Outcome]:
    """Judge every pair of `split` exactly once and return the outcomes in the order of the pairs.

    The first `label_tokens` ids of each answer are compared, more where the two differ only later. Where one
    answer begins with the other (`1` and `19`), the longer one that matches was said, so both flags are never
    true. With `featurizer=None` nothing is interchanged; any other one is moved to the model's device. Raises
    SuiteError for a withheld split, or a pair whose answers have the same ids.
    """
    cases = [_case(instance, pair, label_tokens) for pair in instance.pairs(split)]
    placed = None if featurizer is None else featurizer.to(engine.target.device)
    outcomes: list[Outcome] = []
    while len(outcomes) < len(cases):
        chunk = cases[len(outcomes) : len(outcomes) + _CHUNK]
        with torch.inference_mode():
            said = engine.said([case.choice for case in chunk], site, placed)
        outcomes += [_outcome(case, *both) for case, both in zip(chunk, said, strict=True)]
        if progress is not None:
            progress(len(outcomes), len(cases))
    assert [o.pair_id for o in outcomes] == [c.pair.pair_id for c in cases]
    return outcomes


def _case(instance: Instance, pair: InterchangePair, label_tokens: int) -> _Case:
    base, swapped = instance.prompt(pair.base), instance.prompt(pair.swapped)
    n = max(label_tokens, _common_length(base.label_ids, swapped.label_ids) + 1)
    if base.label_ids == swapped.label_ids or not base.label_ids or not swapped.label_ids:
        raise SuiteError(
            expected=f"two answers that differ in their token ids for pair {pair.pair_id}",
            came=f"{pair.if_unchanged!r} with {base.label_ids}, {pair.if_swapped!r} with {swapped.label_ids}",
            todo="build the instance again with this version of ravel-bench",
        )
    source = instance.prompt(pair.source).prompt
    return _Case(pair, Choice(base.prompt, source, (base.label_ids[:n], swapped.label_ids[:n])))


def _common_length(first: Sequence[int], second: Sequence[int]) -> int:
    n = 0
    while n < min(len(first), len(second)) and first[n] == second[n]:
        n += 1
    return n


def _outcome(case: _Case, said_unchanged: bool, said_swapped: bool) -> Outcome:
    unchanged, swapped = case.choice.answers
    both = said_unchanged and said_swapped
    longer_is_swapped = len(swapped) > len(unchanged)
    return Outcome(
        pair_id=case.pair.pair_id,
        attribute=case.pair.attribute,
        base_template=case.pair.base_template,
        base_entity=case.pair.base_entity,
        source_entity=case.pair.source_entity,
        source_kind=case.pair.source_kind,
        said_swapped=said_swapped and not (both and not longer_is_swapped),
        said_unchanged=said_unchanged and not (both and longer_is_swapped),
    )
