"""What the model says to each pair after the interchange, judged against both answers; it knows no target and
no score.

A greedy output begins with a label exactly when, with that label forced after the prompt, each forced
position's argmax is the label's token. No text is generated, so judging by a tolerance matcher (latitude
within two degrees) is not done here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from das.engine.protocol import Engine, ForcedPair
from das.featurizers.base import Featurizer
from das.sites import Site
from evaluation.records import Outcome
from ravel.common.errors import SuiteError
from ravel.instance import Instance
from ravel.schema import InterchangePair

__all__ = ["DEFAULT_LABEL_TOKENS", "judge"]

DEFAULT_LABEL_TOKENS = 3
_FIRST_CHUNK = 64
_LARGEST_CHUNK = 1024
_LOGITS_PER_CHUNK = 2**25
"""Numbers a chunk's logits may hold (128 MiB in float32): what bounds memory for large vocabularies."""


@dataclass(frozen=True, slots=True)
class _Case:
    """A pair with the token ids of both answers, cut where they are told apart."""

    pair: InterchangePair
    """The pair."""
    forced: ForcedPair
    """Base and source prompts; its label is that of `if_unchanged`."""
    unchanged: tuple[int, ...]
    """Ids of `if_unchanged`."""
    swapped: tuple[int, ...]
    """Ids of `if_swapped`; never equal to `unchanged`, though one may begin with the other."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Whether the output begins with each answer; None while that is open."""

    unchanged: bool | None
    """Begins with `if_unchanged`."""
    swapped: bool | None
    """Begins with `if_swapped`."""


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
    judging = _Judge(engine, site, featurizer)
    outcomes: list[Outcome] = []
    while len(outcomes) < len(cases):
        chunk = cases[len(outcomes) : len(outcomes) + judging.chunk_size()]
        outcomes += judging.judge(chunk, swapped_first=_mostly_swapped(outcomes))
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
    unchanged = base.label_ids[:n]
    forced = ForcedPair(base.prompt, instance.prompt(pair.source).prompt, unchanged)
    return _Case(pair, forced, unchanged, swapped.label_ids[:n])


def _common_length(first: Sequence[int], second: Sequence[int]) -> int:
    n = 0
    while n < min(len(first), len(second)) and first[n] == second[n]:
        n += 1
    return n


def _mostly_swapped(outcomes: Sequence[Outcome]) -> bool:
    return sum(o.said_swapped for o in outcomes) > sum(o.said_unchanged for o in outcomes)


class _Judge:
    """Runs chunks of cases, and learns from the first how large the logits of a pair are."""

    def __init__(self, engine: Engine, site: Site, featurizer: Featurizer | None) -> None:
        self._engine = engine
        self._site = site
        self._featurizer = None if featurizer is None else featurizer.to(engine.target.device)
        self._logits_per_pair = 0

    def chunk_size(self) -> int:
        """Return how many pairs to judge next: a few at first, to see which answer is the likelier."""
        if not self._logits_per_pair:
            return _FIRST_CHUNK
        return max(1, min(_LARGEST_CHUNK, _LOGITS_PER_CHUNK // self._logits_per_pair))

    def judge(self, chunk: Sequence[_Case], *, swapped_first: bool) -> list[Outcome]:
        """Force the likelier answer on all, then the other one where the first run leaves it open."""
        first = self._run(chunk, swapped=swapped_first)
        verdicts = [_read(case, best, swapped=swapped_first) for case, best in zip(chunk, first, strict=True)]
        open_at = [i for i, v in enumerate(verdicts) if v.unchanged is None or v.swapped is None]
        second = self._run([chunk[i] for i in open_at], swapped=not swapped_first)
        for i, best in zip(open_at, second, strict=True):
            verdicts[i] = _merge(verdicts[i], _read(chunk[i], best, swapped=not swapped_first))
        return [_outcome(case, verdict) for case, verdict in zip(chunk, verdicts, strict=True)]

    def _run(self, cases: Sequence[_Case], *, swapped: bool) -> list[list[int]]:
        """Return the argmax at every position of the forced answer, a row per case."""
        if not cases:
            return []
        labels = [case.swapped if swapped else case.unchanged for case in cases]
        pairs = [replace(case.forced, label_ids=ids) for case, ids in zip(cases, labels, strict=True)]
        with torch.inference_mode():
            logits = self._engine.interchange_logits(pairs, self._site, self._featurizer)
            best: list[list[int]] = logits.argmax(dim=-1).tolist()
        self._logits_per_pair = max(self._logits_per_pair, logits[0].numel())
        return [row[: len(ids)] for row, ids in zip(best, labels, strict=True)]


def _read(case: _Case, best: Sequence[int], *, swapped: bool) -> _Verdict:
    """Read a run with one answer forced: it settles that answer, and often the other.

    Up to the first token in which the answers differ, both see the same context, so that a run with one
    answer forced also tells how the other begins.
    """
    own, other = (case.swapped, case.unchanged) if swapped else (case.unchanged, case.swapped)
    said_own = tuple(best) == own
    shared = _common_length(own, other)
    visible = min(shared + 1, len(own), len(other))
    said_other: bool | None = None
    if tuple(best[:visible]) != other[:visible]:
        said_other = False
    elif visible == len(other):
        said_other = True
    return _Verdict(said_other, said_own) if swapped else _Verdict(said_own, said_other)


def _merge(first: _Verdict, second: _Verdict) -> _Verdict:
    return _Verdict(
        unchanged=second.unchanged if first.unchanged is None else first.unchanged,
        swapped=second.swapped if first.swapped is None else first.swapped,
    )


def _outcome(case: _Case, verdict: _Verdict) -> Outcome:
    assert verdict.unchanged is not None
    assert verdict.swapped is not None
    both = verdict.unchanged and verdict.swapped
    longer_is_swapped = len(case.swapped) > len(case.unchanged)
    return Outcome(
        pair_id=case.pair.pair_id,
        attribute=case.pair.attribute,
        base_template=case.pair.base_template,
        base_entity=case.pair.base_entity,
        source_entity=case.pair.source_entity,
        source_kind=case.pair.source_kind,
        said_swapped=verdict.swapped and not (both and not longer_is_swapped),
        said_unchanged=verdict.unchanged and not (both and longer_is_swapped),
    )
