"""The engine that computes nothing before a site twice: it runs on from kept states. It knows token ids,
positions and a featurizer; nothing of attributes, labels' meaning or methods."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from das.engine.base.checks import check_featurizer, check_pairs, check_row_lengths, check_sites
from das.engine.base.cut_rows import Cut, CutRow
from das.engine.base.hooks import captured
from das.engine.base.labels import ForcedLabels, is_likeliest, likeliest, packed_labels
from das.engine.base.pass_limit import Plan, recomputed
from das.engine.base.protocol import Choice, FeaturizedPairs, ForcedPair, PromptPair
from das.engine.engines.direct import DirectEngine
from das.engine.kept.cache import SourceKey
from das.engine.kept.disk_cache import SpillFolder, model_identity
from das.engine.kept.memory import default_cache_bytes
from das.engine.kept.state_pool import StateCache
from das.engine.resuming.layout import plan_passes
from das.engine.resuming.state_runner import StateRunner
from das.featurizers.base import Featurizer
from das.models.base import TargetModel
from das.sites import Site
from ravel.asking.knowledge import Decided
from ravel.facts.schema import Completion, Prompt

__all__ = ["ResumeEngine"]

_LOG = logging.getLogger(__name__)
_CALL_TOKENS = 192
"""Tokens whose run costs as much as a pass costs anyway, on a small model; it changes speed only."""
_LOGITS = 2**25
"""Numbers that the logits of a pass may hold (128 MiB): what bounds memory for large vocabularies."""
_FEWEST_ROWS = 16
"""Fewest vectors a featurizer is given, so that its products round alike however few there are."""


class ResumeEngine(DirectEngine):
    """Answers as `DirectEngine` does, to float rounding, and runs only what an interchange can change.

    Tokens before the site see no change in any block, so that their keys and values are kept per prefix. The
    stream after the site's block is kept per base and label; the swap is put in there, and only tokens from
    the site on run through the blocks above it, and through the last one only those whose next token is asked
    for. A row runs in full once per layer and position of a site, as long as the memory lasts. Gradients flow
    through the resumed part alone.

    On a CPU in float32 a pair's result is the same to the bit whatever pairs stand beside it, in whatever
    order, with states kept or made anew, for models that use torch's own attention (`sdpa`, not `eager`). A
    model whose blocks can't be called one by one is answered by the path of `DirectEngine`, and `fallback`
    says why; so are calls with a row beyond a turning point of the model, for what was kept of its beginning
    would not be its own. A user's own hooks on blocks see, while it runs on, the tokens from the site on, and
    those on the first and last block a call more. Completing without an interchange is that of
    `DirectEngine`.
    """

    name = "resume"

    def __init__(
        self,
        target: TargetModel,
        batch_tokens: int = 16_384,
        *,
        cache_bytes: int = 1 << 28,
        state_bytes: int | None = None,
        cache_folder: Path | None = None,
    ) -> None:
        """`batch_tokens` bounds the tokens of one forward pass, `cache_bytes` the kept source vectors,
        `state_bytes` the states of base rows kept in memory (None: a share of what is free). What does not
        fit goes to `cache_folder`; without one it is made again. Raises SuiteError for a folder that another
        model or version wrote."""
        super().__init__(target, batch_tokens, cache_bytes=cache_bytes)
        limit = default_cache_bytes(target.device) if state_bytes is None else state_bytes
        self.states = StateCache(limit)
        """The kept states of base rows."""
        identity = model_identity(target.instrument.own_fingerprint, target.dtype, target.device)
        spill = None if cache_folder is None else SpillFolder(cache_folder, identity)
        self._runner = StateRunner(target, self.states, self.room, spill)
        self._vocabulary = int(target.config.vocab_size)

    @cached_property
    def fallback(self) -> str | None:
        """Why the model can't be resumed, which is found out when it is first asked; None if it can.

        The reason is logged once, as a warning.
        """
        reason = self.target.no_resume or self._runner.refusal()
        if reason is not None:
            _LOG.warning("%s is run by the engine direct: %s", self.target.name, reason)
        return reason

    def interchange_logits(
        self, pairs: Sequence[ForcedPair], site: Site, featurizer: Featurizer | None
    ) -> Tensor:
        """Return the logits that predict each label token, [n_pairs, longest label, vocabulary]; see the
        protocol."""
        if not pairs or self._by_direct(_forced(pairs)):
            return super().interchange_logits(pairs, site, featurizer)
        groups, lengths = [FeaturizedPairs(pairs, featurizer)], [len(pair.label_ids) for pair in pairs]
        found: list[Tensor] = []
        if not self.room.tight and self.room.attempt(
            lambda: found.append(_laid_out(self._packed(groups, site), lengths))
        ):
            return found[0]

        def judged(batch: list[int], logits: Tensor) -> Tensor:
            return _laid_out(logits, [lengths[i] for i in batch], longest=max(lengths))

        return self._spared_passes(groups, site, judged)

    def forced_labels(self, groups: Sequence[FeaturizedPairs], site: Site) -> list[ForcedLabels]:
        """Return how the labels of each group fare under its own featurizer; see the protocol."""
        mixed = len({group.featurizer is None for group in groups}) != 1
        empty = not all(group.pairs for group in groups)
        if mixed or empty or self._by_direct(_forced([pair for group in groups for pair in group.pairs])):
            return super().forced_labels(groups, site)
        found: list[ForcedLabels] = []
        if not self.room.tight and self.room.attempt(lambda: found.extend(self._at_once(groups, site))):
            return found
        pairs = [pair for group in groups for pair in group.pairs]
        correct = torch.zeros(len(pairs), dtype=torch.bool, device=self.target.device)

        def judged(batch: list[int], logits: Tensor) -> Tensor:
            labels = packed_labels(logits, [pairs[i].label_ids for i in batch])
            correct[torch.tensor(batch, device=correct.device)] = labels.correct.to(correct.device)
            return labels.cross_entropy

        sizes = [len(group.pairs) for group in groups]
        losses = self._spared_passes(groups, site, judged).split(sizes)
        return [ForcedLabels(*both) for both in zip(losses, correct.split(sizes), strict=True)]

    def _at_once(self, groups: Sequence[FeaturizedPairs], site: Site) -> list[ForcedLabels]:
        """Judge all groups with the graph of all passes kept."""
        packed = self._packed(groups, site)
        labels = [[pair.label_ids for pair in group.pairs] for group in groups]
        parts = packed.split([sum(map(len, of_group)) for of_group in labels])
        return [packed_labels(part, ids) for part, ids in zip(parts, labels, strict=True)]

    def _spared_passes(
        self,
        groups: Sequence[FeaturizedPairs],
        site: Site,
        judged: Callable[[list[int], Tensor], Tensor],
    ) -> Tensor:
        """Return what `judged` makes of the logits of each pass, [n pairs, ...], holding the states and the
        graph of one pass at a time; row by row it is what `_packed` gives, to the bit."""
        self._check(site, [group.featurizer for group in groups])
        pairs = [pair for group in groups for pair in group.pairs]
        check_pairs(pairs)
        rows = self._rows_of([pair.base for pair in pairs], [(pair.label_ids,) for pair in pairs], site)
        swapped, cut = self._swapped_groups(groups, rows, site), self._cut(site)

        def one(batch: list[int], changed: Tensor) -> Tensor:
            here = [rows[i] for i in batch]
            self._runner.fill(here, cut)
            asked = self._runner.asked(here, cut, None if swapped is None else changed)
            found = judged(batch, self._runner.runner.logits(asked))
            self._runner.settle()
            return found

        vectors = torch.zeros(len(rows), 0, device=self.target.device) if swapped is None else swapped
        return recomputed(self.room, vectors, self._planned_passes(rows), one)

    def said(
        self, choices: Sequence[Choice], site: Site, featurizer: Featurizer | None
    ) -> list[tuple[bool, bool]]:
        """Return for both answers whether they would be said; see the protocol.

        Both run in one pass, for they share everything up to the prompt's last token. The vocabulary is asked
        for an answer's later tokens only where its first one is the likeliest.
        """
        if not choices or self._by_direct([(c.base, sum(map(len, c.answers)) - 2) for c in choices]):
            return super().said(choices, site, featurizer)
        self._check(site, [featurizer])
        rows = self._rows_of([c.base for c in choices], [c.answers for c in choices], site)
        found: list[tuple[bool, bool]] = [(False, False)] * len(rows)
        self._ahead(rows, [] if featurizer is None else [c.source for c in choices], site)

        def one(batch: list[int]) -> None:
            some, here = [choices[i] for i in batch], [rows[i] for i in batch]
            with torch.no_grad():
                swapped = self._swapped(
                    here, [c.base for c in some], [c.source for c in some], site, featurizer
                )
                self._runner.fill(here, self._cut(site))
                asked = self._runner.asked(here, self._cut(site), swapped)
                for i, both in zip(batch, self._said(asked, some), strict=True):
                    found[i] = both
            self._runner.settle()

        self.room.each(len(rows), self._planned_passes(rows), one)
        return found

    def complete_swapped(
        self,
        pairs: Sequence[PromptPair],
        site: Site,
        featurizer: Featurizer | None,
        max_new_tokens: int,
        decided: Decided | None = None,
    ) -> list[Completion]:
        """Continue each base greedily after the interchange, with the end token if it came; see the protocol.

        Every new token is read with all rows that still go on in one pass, from the site on. What such rows
        leave behind is not kept.
        """
        if not pairs or featurizer is None or self._by_direct([(p.base, max_new_tokens) for p in pairs]):
            return super().complete_swapped(pairs, site, featurizer, max_new_tokens, decided)
        self._check(site, [featurizer])
        bases = [pair.base for pair in pairs]
        rows = self._rows_of(bases, [((0,),)] * len(pairs), site)
        check_row_lengths([len(row.ids) + max_new_tokens for row in rows], self.target)
        sources = [pair.source for pair in pairs]
        with torch.no_grad():
            swapped = self.room.fitted(lambda: self._swapped(rows, bases, sources, site, featurizer))
        self._runner.settle()
        said: list[tuple[int, ...]] = [()] * len(rows)
        live = list(range(len(rows))) if max_new_tokens else []
        while live:
            for i, token in zip(live, self._next_tokens(rows, said, live, site, swapped), strict=True):
                said[i] += (token,)
            live = [
                i
                for i in live
                if said[i][-1] not in self.target.end_ids
                and len(said[i]) < max_new_tokens
                and not (decided is not None and decided(i, said[i]))
            ]
        return [self._completion(ids) for ids in said]

    def _next_tokens(
        self,
        rows: Sequence[CutRow],
        said: Sequence[tuple[int, ...]],
        live: Sequence[int],
        site: Site,
        swapped: Tensor | None,
    ) -> list[int]:
        """Return the likeliest token after each live row and what it has said so far."""
        grown = [
            CutRow(ids, rows[i].start, len(ids), len(ids)) for i in live for ids in (rows[i].ids + said[i],)
        ]
        tokens = [0] * len(grown)

        def one(batch: list[int]) -> None:
            with torch.no_grad():
                some = [grown[j] for j in batch]
                self._runner.fill(some, self._cut(site))
                chosen = torch.tensor([live[j] for j in batch], device=self.target.device)
                changed = None if swapped is None else swapped.index_select(0, chosen)
                logits = self._runner.runner.logits(self._runner.asked(some, self._cut(site), changed))
                for j, token in zip(batch, likeliest(logits), strict=True):
                    tokens[j] = token
            self._runner.drop()

        self.room.each(len(grown), self._planned_passes(grown), one)
        return tokens

    def run_ahead(self, pairs: Sequence[ForcedPair], site: Site) -> None:
        """Run these pairs' bases and sources for the first time, if there is room for all; see the
        protocol."""
        if pairs and not self._by_direct(_forced(pairs)):
            self._check(site, [])
            bases, labels = [pair.base for pair in pairs], [(pair.label_ids,) for pair in pairs]
            self._ahead(self._rows_of(bases, labels, site), [pair.source for pair in pairs], site)
            self._runner.settle()

    def _by_direct(self, asked: Sequence[tuple[Prompt, int]]) -> bool:
        """Return whether prompts with so many more tokens each are for the path of `DirectEngine`."""
        if self.fallback is not None:
            return True
        bases = self.encoder.encode([prompt.text for prompt, _ in asked])
        longest = max(len(base.ids) + more for base, (_, more) in zip(bases, asked, strict=True))
        return self.target.side(longest) > 0 or not self._reaches(longest)

    def _reaches(self, longest: int) -> bool:
        limit = self.target.max_tokens
        # A row that is too long is refused in words where it is run.
        return (limit is not None and longest > limit) or self._runner.reaches(longest)

    def _ahead(self, rows: Sequence[CutRow], sources: Sequence[Prompt], site: Site) -> None:
        if self.room.tight:
            return

        def all_at_once() -> None:
            if self._runner.fits(rows, self._cut(site)):
                self._runner.fill(rows, self._cut(site))
            if sources:
                self._stacked(sources, site)

        with torch.no_grad():
            # What does not fit now is run when it is needed.
            self.room.attempt(all_at_once)

    def _said(self, asked: Tensor, choices: Sequence[Choice]) -> list[tuple[bool, bool]]:
        """Judge vectors [n, d_model]: a choice's are those after its prompt, then its first answer's, then
        its second's."""
        counts = [1 + sum(len(answer) - 1 for answer in choice.answers) for choice in choices]
        begins = [end - count for end, count in zip(accumulate(counts), counts, strict=True)]
        firsts = self._runs_first(
            asked,
            [(begin, c.answers[k][0]) for begin, c in zip(begins, choices, strict=True) for k in (0, 1)],
        )
        later: list[tuple[int, int]] = []
        owners: list[int] = []
        for i, (begin, choice) in enumerate(zip(begins, choices, strict=True)):
            place = begin + 1
            for k, answer in enumerate(choice.answers):
                if firsts[2 * i + k]:
                    later += [(place + j, token) for j, token in enumerate(answer[1:])]
                    owners += [2 * i + k] * (len(answer) - 1)
                place += len(answer) - 1
        for owner, right in zip(owners, self._runs_first(asked, later), strict=True):
            firsts[owner] = firsts[owner] and right
        return list(zip(firsts[::2], firsts[1::2], strict=True))

    def _runs_first(self, asked: Tensor, tokens: Sequence[tuple[int, int]]) -> list[bool]:
        """Return for pairs of a place in `asked` and a token whether that token is the likeliest there."""
        if not tokens:
            return []
        places = list(dict.fromkeys(place for place, _ in tokens))
        row = {place: i for i, place in enumerate(places)}
        logits = self._runner.runner.logits(asked.index_select(0, torch.tensor(places, device=asked.device)))
        rows = torch.tensor([row[place] for place, _ in tokens], device=asked.device)
        ids = torch.tensor([token for _, token in tokens], device=asked.device)
        found: list[bool] = is_likeliest(logits, rows, ids).tolist()
        return found

    def _packed(self, groups: Sequence[FeaturizedPairs], site: Site) -> Tensor:
        """Return the logits of all label tokens, pair by pair and group by group, [n, vocabulary]."""
        self._check(site, [group.featurizer for group in groups])
        pairs = [pair for group in groups for pair in group.pairs]
        check_pairs(pairs)
        rows = self._rows_of([pair.base for pair in pairs], [(pair.label_ids,) for pair in pairs], site)
        cut = self._cut(site)
        self._runner.fill(rows, cut)
        swapped = self._swapped_groups(groups, rows, site)
        parts, order = [], []
        for batch in self._passes(rows):
            chosen = torch.tensor(batch, device=self.target.device)
            changed = None if swapped is None else swapped.index_select(0, chosen)
            asked = self._runner.asked([rows[i] for i in batch], cut, changed)
            parts.append(self._runner.runner.logits(asked))
            order.extend(batch)
        self._runner.settle()
        return _in_order(parts, order, [row.asked for row in rows])

    def _swapped_groups(
        self, groups: Sequence[FeaturizedPairs], rows: Sequence[CutRow], site: Site
    ) -> Tensor | None:
        """Swap each group by its own featurizer, so that a group's gradient never knows of the others."""
        parts, end = [], 0
        for group in groups:
            begin, end = end, end + len(group.pairs)
            bases, sources = [p.base for p in group.pairs], [p.source for p in group.pairs]
            part = self._swapped(rows[begin:end], bases, sources, site, group.featurizer)
            if part is not None:
                parts.append(part)
        return torch.cat(parts) if parts else None

    def _swapped(
        self,
        rows: Sequence[CutRow],
        bases: Sequence[Prompt],
        sources: Sequence[Prompt],
        site: Site,
        featurizer: Featurizer | None,
    ) -> Tensor | None:
        """Return what takes the place of the bases' own vectors at the site, [n, width]; None: they stay."""
        if featurizer is None:
            return None
        source = self._stacked(sources, site)
        if site.stream == "block_output":
            base = self._left_behind(rows, site)
        else:
            base = self._stacked(bases, site).to(self.target.dtype)
        few = max(0, _FEWEST_ROWS - len(base))
        if few:
            base, source = (torch.cat([v, v[-1:].expand(few, -1)]) for v in (base, source))
        return featurizer.interchange(base, source)[: len(bases)]

    def _left_behind(self, rows: Sequence[CutRow], site: Site) -> Tensor:
        """Return what stands after the block of the cut at each row's cut, [rows, d_model]."""
        cut = self._cut(site)
        if not self.room.tight:
            self._runner.fill(rows, cut)
            return self._runner.vectors(rows, cut)
        found: dict[int, Tensor] = {}

        def one(batch: list[int]) -> None:
            here = [rows[i] for i in batch]
            self._runner.fill(here, cut)
            found.update(zip(batch, self._runner.vectors(here, cut).unbind(), strict=True))
            self._runner.settle()

        self.room.each(len(rows), self._planned_passes(rows), one)
        return torch.stack([found[i] for i in range(len(rows))])

    def _check(self, site: Site, featurizers: Sequence[Featurizer | None]) -> None:
        check_sites([site], self.target)
        for featurizer in featurizers:
            check_featurizer(featurizer, self.target, site)

    def _cut(self, site: Site) -> Cut:
        inside = None if site.stream == "block_output" else self.target.place(site)
        return Cut(site.layer, inside)

    def _rows_of(
        self, bases: Sequence[Prompt], labels: Sequence[tuple[tuple[int, ...], ...]], site: Site
    ) -> list[CutRow]:
        encoded = self.encoder.encode([base.text for base in bases])
        rows = []
        for prompt, base, given in zip(encoded, bases, labels, strict=True):
            start = self.encoder.position(base, site.position)
            first = prompt.ids + given[0][:-1]
            second = given[1][:-1] if len(given) > 1 else ()
            rows.append(CutRow(first + second, start, len(prompt.ids), len(first)))
        check_row_lengths([len(row.ids) for row in rows], self.target)
        return rows

    def _passes(self, rows: Sequence[CutRow]) -> list[list[int]]:
        return plan_passes(
            [row.after for row in rows],
            [row.start for row in rows],
            batch_tokens=self.batch_tokens,
            call_tokens=_CALL_TOKENS,
            most_rows=_LOGITS // (self._vocabulary * max(row.asked for row in rows)),
        )

    def _planned_passes(self, rows: Sequence[CutRow]) -> Plan:
        return lambda left: self._passes([rows[i] for i in left])

    def _let_go(self) -> None:
        """Forget every kept state, and keep half as many from now on."""
        super()._let_go()
        self.states.clear()
        self.states.max_bytes //= 2

    def _read_batch(
        self, rows: list[tuple[int, ...]], keys: list[list[SourceKey]]
    ) -> dict[SourceKey, Tensor]:
        longest = max(map(len, rows))
        if self.fallback is not None or self.target.side(longest) or not self._reaches(longest):
            return super()._read_batch(rows, keys)
        spots = dict.fromkeys(key.spot for of_row in keys for key in of_row)
        tokens = sorted({key.token for of_row in keys for key in of_row})
        column = {token: index for index, token in enumerate(tokens)}
        # Nothing after the last wanted token is run.
        cut = [row[: max(key.token for key in of_row) + 1] for row, of_row in zip(rows, keys, strict=True)]
        places = torch.tensor([[min(token, len(row) - 1) for token in tokens] for row in cut])
        wanted = {spot: self.target.place(spot) for spot in spots}
        with captured(wanted, dict.fromkeys(spots, places.to(self.target.device))) as vectors:
            self._runner.read(cut)
        return {
            key: vectors[key.spot][row, column[key.token]].clone()
            for row, of_row in enumerate(keys)
            for key in of_row
        }


def _forced(pairs: Sequence[ForcedPair]) -> list[tuple[Prompt, int]]:
    """Return each base with how many tokens of its label are read."""
    return [(pair.base, len(pair.label_ids) - 1) for pair in pairs]


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


def _laid_out(packed: Tensor, lengths: Sequence[int], *, longest: int | None = None) -> Tensor:
    """Put logits [n, vocabulary] into [rows, longest, vocabulary], zeros after each row's own label."""
    longest, vocabulary = longest or max(lengths), packed.shape[1]
    if min(lengths) < longest:
        places = [i * longest + j for i, length in enumerate(lengths) for j in range(length)]
        table = packed.new_zeros(len(lengths) * longest, vocabulary)
        packed = table.index_copy(0, torch.tensor(places, device=packed.device), packed)
    return packed.view(len(lengths), longest, vocabulary)
