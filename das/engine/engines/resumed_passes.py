"""Interchanges that run on from kept states: rows cut at a site, what is swapped in there, and their logits.
It does not know which models can be run so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from das.engine.base.batch import PromptEncoder
from das.engine.base.checks import check_featurizer, check_pairs, check_row_lengths, check_sites
from das.engine.base.cut_rows import Cut, CutRow
from das.engine.base.labels import likeliest
from das.engine.base.lanes import ALONE, rows_of
from das.engine.base.pass_limit import PassLimit, Plan, recomputed
from das.engine.base.protocol import FeaturizedPairs, PromptPair
from das.engine.completing.new_tokens import NewTokens
from das.engine.engines.source_vectors import SourceVectors
from das.engine.resuming.growing_rows import GrowingCutRows
from das.engine.resuming.state_runner import StateRunner
from das.finding import Actor
from das.models.base import TargetModel
from das.sites import Site
from ravel.terms.schema import Prompt

_LOGITS = 2**25
"""Numbers that the logits of a pass may hold (128 MiB): what bounds memory for large vocabularies."""
_FEWEST_ROWS = 16
"""Fewest vectors a featurizer is given, so that its products round alike however few there are."""


class ResumedPasses:
    """Runs bases on from a site, with another vector there."""

    def __init__(
        self,
        target: TargetModel,
        encoder: PromptEncoder,
        limit: PassLimit,
        sources: SourceVectors,
        runner: StateRunner,
    ) -> None:
        """`limit` bounds a pass, `sources` gives what is swapped in."""
        self._target = target
        self._encoder = encoder
        self._limit = limit
        self._sources = sources
        self._runner = runner
        self._vocabulary = int(target.config.vocab_size)

    def check(self, site: Site, featurizers: Sequence[Actor | None]) -> None:
        """Raise SuiteError unless the target has the site, and its width is that of every featurizer."""
        check_sites([site], self._target)
        for featurizer in featurizers:
            check_featurizer(featurizer, self._target, site)

    def cut(self, site: Site) -> Cut:
        """Return where rows are cut for a site."""
        inside = None if site.stream == "block_output" else self._target.place(site)
        return Cut(site.layer, inside)

    def rows(
        self, bases: Sequence[Prompt], labels: Sequence[tuple[tuple[int, ...], ...]], site: Site
    ) -> list[CutRow]:
        """Return each base with its labels forced, one or two, cut at the site. Raises SuiteError for rows
        that are too long."""
        encoded = self._encoder.encode([base.text for base in bases])
        rows = []
        for prompt, base, given in zip(encoded, bases, labels, strict=True):
            start = self._encoder.position(base, site.position)
            first = prompt.ids + given[0][:-1]
            second = given[1][:-1] if len(given) > 1 else ()
            rows.append(CutRow(first + second, start, len(prompt.ids), len(first)))
        check_row_lengths([len(row.ids) for row in rows], self._target)
        return rows

    def _labelled(self, groups: Sequence[FeaturizedPairs], site: Site) -> list[CutRow]:
        """Return the rows of all pairs, group by group, once all is checked."""
        self.check(site, [group.featurizer for group in groups])
        pairs = [pair for group in groups for pair in group.pairs]
        check_pairs(pairs)
        return self.rows([pair.base for pair in pairs], [(pair.label_ids,) for pair in pairs], site)

    def label_logits(self, groups: Sequence[FeaturizedPairs], site: Site) -> Tensor:
        """Return the logits of all label tokens, pair by pair and group by group, [n, vocabulary]."""
        rows, cut = self._labelled(groups, site), self.cut(site)
        self._runner.fill(rows, cut)
        swapped = self._swapped_groups(groups, rows, site)

        def one(batch: list[int], changed: Tensor) -> Tensor:
            here = [rows[i] for i in batch]
            asked = self._runner.asked(here, cut, None if swapped is None else changed)
            return self._runner.runner.logits(asked)

        vectors = torch.zeros(len(rows), 0, device=self._target.device) if swapped is None else swapped
        batches = self._passes(rows)
        parts = self._runner.side_by_side(vectors, batches, one, cut)
        self._runner.settle()
        order = [i for batch in batches for i in batch]
        return _in_order(parts, order, [row.asked for row in rows])

    def _swapped_groups(
        self, groups: Sequence[FeaturizedPairs], rows: Sequence[CutRow], site: Site
    ) -> Tensor | None:
        """Swap each group by its own featurizer, so that a group's gradient never knows of the others."""
        parts, end = [], 0
        for group in groups:
            begin, end = end, end + len(group.pairs)
            bases, sources = [p.base for p in group.pairs], [p.source for p in group.pairs]
            part = self.swapped(rows[begin:end], bases, sources, site, group.featurizer)
            if part is not None:
                parts.append(part)
        return torch.cat(parts) if parts else None

    def swapped(
        self,
        rows: Sequence[CutRow],
        bases: Sequence[Prompt],
        sources: Sequence[Prompt],
        site: Site,
        featurizer: Actor | None,
    ) -> Tensor | None:
        """Return what takes the place of the bases' own vectors at the site, [n, width]; None: they stay."""
        if featurizer is None:
            return None
        source = self._sources.stacked(sources, site)
        if site.stream == "block_output":
            base = self._left_behind(rows, site)
        else:
            base = self._sources.stacked(bases, site).to(self._target.dtype)
        few = max(0, _FEWEST_ROWS - len(base))
        if few:
            base, source = (torch.cat([v, v[-1:].expand(few, -1)]) for v in (base, source))
        return featurizer.interchange(base, source)[: len(bases)]

    def _left_behind(self, rows: Sequence[CutRow], site: Site) -> Tensor:
        """Return what stands after the block of the cut at each row's cut, [rows, d_model]."""
        cut = self.cut(site)
        if not self._limit.tight:
            self._runner.fill(rows, cut)
            return self._runner.vectors(rows, cut)
        vectors: dict[int, Tensor] = {}

        def one(batch: list[int]) -> None:
            here = [rows[i] for i in batch]
            self._runner.fill(here, cut)
            vectors.update(zip(batch, self._runner.vectors(here, cut).unbind(), strict=True))
            self._runner.settle()

        self._limit.each(len(rows), self.plan(rows), one)
        return torch.stack([vectors[i] for i in range(len(rows))])

    def recomputed(
        self,
        groups: Sequence[FeaturizedPairs],
        site: Site,
        judged: Callable[[list[int], Tensor], Tensor],
    ) -> Tensor:
        """Return what `judged` makes of the logits of each pass, [n pairs, ...], holding the states and the
        graph of one pass at a time; row by row it is what `label_logits` gives, to the bit."""
        rows = self._labelled(groups, site)
        swapped = self._swapped_groups(groups, rows, site)

        def one(batch: list[int], changed: Tensor) -> Tensor:
            here = [rows[i] for i in batch]
            asked = self.asked(here, site, None if swapped is None else changed)
            results = judged(batch, self._runner.runner.logits(asked))
            self._runner.settle()
            return results

        vectors = torch.zeros(len(rows), 0, device=self._target.device) if swapped is None else swapped
        return recomputed(self._limit, vectors, self.plan(rows), one)

    def asked(self, rows: Sequence[CutRow], site: Site, changed: Tensor | None) -> Tensor:
        """Return what comes out of the last block at every token asked for, row by row, [n, d_model]; rows
        that are new run first. Whoever calls settles."""
        cut = self.cut(site)
        self._runner.fill(rows, cut)
        return self._runner.asked(rows, cut, changed)

    def each(
        self,
        rows: Sequence[CutRow],
        pairs: Sequence[PromptPair],
        site: Site,
        featurizer: Actor | None,
        judged: Callable[[list[int], Tensor], None],
    ) -> None:
        """Run the rows of pairs on with what a featurizer swaps in, without gradients; `judged` gets the
        numbers of each pass's rows and what comes out of the last block at every token they ask for."""
        there = self.prefill(rows, [] if featurizer is None else [pair.source for pair in pairs], site)
        # Passes side by side must find all there: nothing is made or let go meanwhile.
        lanes = self._runner.lanes_at(self.cut(site)) if there else ALONE

        def swapped(batch: Sequence[int]) -> Tensor | None:
            here, some = [rows[i] for i in batch], [pairs[i] for i in batch]
            return self.swapped(here, [p.base for p in some], [p.source for p in some], site, featurizer)

        with torch.no_grad():
            beside = lanes.count > 1
            whole = self._limit.at_once(lambda: swapped(range(len(rows)))) if beside else None

            def one(batch: list[int]) -> None:
                changed = swapped(batch) if whole is None else whole[batch]
                judged(batch, self.asked([rows[i] for i in batch], site, changed))
                if not beside or self._limit.tight:
                    self._runner.settle()

            self._limit.each(len(rows), self.plan(rows), one, lanes)
        self._runner.settle()

    def grow(self, rows: Sequence[CutRow], site: Site, swapped: Tensor | None, new: NewTokens) -> None:
        """Continue rows greedily, with `swapped` [rows, width] at the site; what they grow by is written into
        `new`. Rows that go on together hold half as many tokens as a pass may, new ones included: what they
        begin with is held besides."""
        cut, logits_of = self.cut(site), self._runner.runner.logits

        def next_tokens(hidden: Tensor) -> list[int]:
            return likeliest(logits_of(hidden))

        def one(batch: list[int]) -> None:
            new.begin_again(batch)
            growing = GrowingCutRows(self._runner, [rows[i] for i in batch], new.most)
            changed = None if swapped is None else rows_of(swapped, batch)
            live = list(range(len(batch)))
            tokens = growing.read(cut, changed, self._passes, next_tokens)
            while live := [i for i, token in zip(live, tokens, strict=True) if new.add(batch[i], token)]:
                tokens = growing.grow(live, [new.of(batch[i])[-1] for i in live], self._passes, next_tokens)

        def plan(left: Sequence[int]) -> list[list[int]]:
            return _shares([len(rows[i].ids) + new.most for i in left], self._limit.size // 2)

        with torch.no_grad():
            self._limit.each(len(rows), plan, one)

    def prefill(self, rows: Sequence[CutRow], sources: Sequence[Prompt], site: Site) -> bool:
        """Run rows and sources for the first time, if there is room for all and memory sufficed so far.
        Return whether all rows are there now."""
        if self._limit.tight:
            return False
        fits = self._runner.fits(rows, self.cut(site))

        def all_at_once() -> None:
            if fits:
                self._runner.fill(rows, self.cut(site))
            if sources:
                self._sources.stacked(sources, site)

        with torch.no_grad():
            # What does not fit now is run when it is needed.
            return self._limit.attempt(all_at_once) and fits

    def _passes(self, rows: Sequence[CutRow]) -> list[list[int]]:
        return self._runner.plan(rows, _LOGITS // (self._vocabulary * max(row.asked for row in rows)))

    def plan(self, rows: Sequence[CutRow]) -> Plan:
        """Return how rows are shared out among passes, as the pass limit asks it."""
        return lambda left: self._passes([rows[i] for i in left])


def _shares(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Share places out in their order, to those that come to `most` together at most, or are alone."""
    shares: list[list[int]] = []
    total = 0
    for place, length in enumerate(lengths):
        total += length
        if not shares or total > most:
            shares.append([])
            total = length
        shares[-1].append(place)
    return shares


def _in_order(parts: list[Tensor], order: list[int], lengths: Sequence[int]) -> Tensor:
    """Return rows [n, vocabulary], of which `lengths[i]` belong to i, by i; in `parts` i goes by `order`."""
    packed = parts[0] if len(parts) == 1 else torch.cat(parts)
    if order == sorted(order):
        return packed
    first, ends = {}, 0
    for i in order:
        first[i] = ends
        ends += lengths[i]
    places = [first[i] + j for i, length in enumerate(lengths) for j in range(length)]
    return packed.index_select(0, torch.tensor(places, device=packed.device))
