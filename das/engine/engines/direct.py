"""The plain fast engine: unique sources are read once and remembered, rows are grouped to avoid padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from das.engine.base.batch import PaddedRows, PaddingSide, PromptEncoder, plan_batches
from das.engine.base.checks import check_featurizer, check_pairs, check_row_lengths, check_sites
from das.engine.base.hooks import rewritten
from das.engine.base.labels import ForcedLabels, forced_labels
from das.engine.base.pass_limit import PassLimit, Plan, recomputed
from das.engine.base.protocol import AnswerPair, FeaturizedPairs, ForcedPair, SwappedPrompts
from das.engine.base.token_rows import token_rows
from das.engine.completing.completion import Completer
from das.engine.completing.new_tokens import Settled
from das.engine.completing.sampling import sample_rows
from das.engine.completing.shared_beginnings import Row
from das.engine.completing.swapped_completion import SwappedRow, complete_swapped_rows
from das.engine.engines.base_engine import BaseEngine
from das.engine.engines.padded_passes import PaddedPasses
from das.engine.engines.source_vectors import Rows, SourceVectors, captured_vectors
from das.engine.kept.cache import SourceKey
from das.engine.kept.memory import free_bytes, more_room
from das.finding import Actor
from das.models.base import TargetModel
from das.positions import EditedTokens
from das.sites import Site
from ravel.asking.answerer import Decided
from ravel.terms.schema import Completion, Prompt

Change = Callable[[Tensor], Tensor]
"""From the vectors at a site, [rows, width], to those that take their place."""


class DirectEngine(BaseEngine):
    """Runs a target model with forward hooks where its sites are.

    A source vector depends on the source prompt and the site alone, so each is computed once and kept, over
    pairs, epochs, target attributes and methods. Logits are projected at the label positions only.

    A pass that runs out of memory is done again with half the tokens, and the engine stays at that; from then
    on a gradient is computed pass by pass, each of which runs a second time for it. `on_note` is told.
    """

    name = "direct"
    limit: PassLimit
    """How many tokens a pass may have."""

    def __init__(
        self,
        target: TargetModel,
        batch_tokens: int = 16_384,
        *,
        cache_bytes: int = 1 << 28,
        padding_side: PaddingSide = "right",
        extra_padding: int = 0,
    ) -> None:
        """`batch_tokens` bounds the tokens of one forward pass, `cache_bytes` the kept source vectors. The
        two settings of padding change no result; they are there to prove it."""
        self.target = target
        self.limit = PassLimit(
            batch_tokens,
            let_go=self._let_go,
            tell=self.notify,
            todo=lambda size: more_room(free_bytes(target.device)),
            within=self.suited_threads,
        )
        self.encoder = PromptEncoder(target.tokenizer)
        """Tokenises prompts, once each."""
        self.sources = SourceVectors(
            *(target, self.encoder, self.limit, cache_bytes), plan=self._planned, read=self._read_batch
        )
        """The kept source vectors."""
        self._completer = Completer(target, batch_tokens)
        self._passes = PaddedPasses(target, side=padding_side, extra=extra_padding)

    @property
    def batch_tokens(self) -> int:
        """Tokens in one forward pass at most, padding included; lowered where memory did not suffice."""
        return self.limit.size

    def collect(self, prompts: Sequence[Prompt], sites: Sequence[Site]) -> dict[Site, Tensor]:
        """Return the vectors at each site, [n_prompts, width] in float32; see the protocol. One pass of a
        prompt serves all sites, and ends after the last of them."""
        check_sites(sites, self.target)
        keys = {site: [self.sources.key(prompt, site) for prompt in prompts] for site in sites}
        vectors = self.sources.vectors([key for of_site in keys.values() for key in of_site])
        return {
            site: torch.stack([vectors[key] for key in of_site]) if of_site else self._no_vectors(site)
            for site, of_site in keys.items()
        }

    def complete(
        self,
        prompts: Sequence[Prompt],
        max_new_tokens: int,
        decided: Decided | None = None,
        begun: Sequence[tuple[int, ...]] | None = None,
    ) -> list[Completion]:
        """Continue each prompt greedily, with the end token if it came; see the protocol. Equal texts run
        once, and so does what many begin with (`Completer`)."""
        rows = token_rows(self.target.tokenizer, self.encoder, [prompt.text for prompt in prompts])
        check_row_lengths([len(row) + max_new_tokens for row in rows], self.target)
        begins = list(zip(rows, [()] * len(rows) if begun is None else begun, strict=True))
        askers: dict[tuple[Row, Row], list[int]] = {}
        for place, begin in enumerate(begins):
            askers.setdefault(begin, []).append(place)
        settled = _all_decided(decided, list(askers.values()))
        new = self._completer.go_on(list(askers), max_new_tokens, settled, limit=self.limit)
        known: dict[Row, Completion] = {ids: self._completion(ids) for ids in dict.fromkeys(new)}
        found = {begin: known[ids] for begin, ids in zip(askers, new, strict=True)}
        return [found[begin] for begin in begins]

    def sample(
        self, prompts: Sequence[Prompt], chances: Tensor, temperature: float, decided: Decided | None = None
    ) -> list[list[Completion]]:
        """Continue each prompt once for each of its rows of chances; see `SamplingEngine`."""
        rows = token_rows(self.target.tokenizer, self.encoder, [prompt.text for prompt in prompts])
        longest = [len(row) + chances.shape[2] for row in rows]
        check_row_lengths(longest, self.target)
        cached = not any(self.target.sides(longest)) and self._completer.grows
        found = sample_rows(
            *(self.target, rows, chances, temperature), limit=self.limit, cached=cached, settled=decided
        )
        return [[self._completion(ids) for ids in of_row] for of_row in found]

    def _continued(self, asked: SwappedPrompts) -> list[Completion]:
        """Equal pairs run once; a new token runs alone, behind what the model's own cache has of its row."""
        pairs, site, featurizer, most = asked.pairs, asked.site, asked.featurizer, asked.max_new_tokens
        check_sites([site], self.target)
        check_featurizer(featurizer, self.target, site)
        if featurizer is None:
            return self.complete([pair.base for pair in pairs], most, asked.decided)
        rows = [encoded.ids for encoded in self.encoder.encode([pair.base.text for pair in pairs])]
        self.encoder.encode([pair.source.text for pair in pairs])
        check_row_lengths([len(row) + most for row in rows], self.target)
        askers: dict[tuple[tuple[int, ...], tuple[int, ...], SourceKey], list[int]] = {}
        for i, (row, pair) in enumerate(zip(rows, pairs, strict=True)):
            places = self._changed_places(pair.base, len(row), asked)
            askers.setdefault((row, places, self.sources.key(pair.source, site)), []).append(i)
        sources = self.sources.vectors([key for _, _, key in askers])
        new = complete_swapped_rows(
            [SwappedRow(row, places, sources[key]) for row, places, key in askers],
            self.target,
            site,
            featurizer,
            most,
            limit=self.limit,
            cached=most > 1 and self._completer.grows,
            settled=_all_decided(asked.decided, list(askers.values())),
            generated=asked.tokens is not None and asked.tokens.generated,
        )
        known = {ids: self._completion(ids) for ids in dict.fromkeys(new)}
        completions = {
            i: known[ids] for of_row, ids in zip(askers.values(), new, strict=True) for i in of_row
        }
        return [completions[i] for i in range(len(pairs))]

    def check_tokens(self, tokens: EditedTokens | None) -> None:
        """Raise nothing: vectors are changed at any tokens."""

    def _changed_places(self, base: Prompt, n_tokens: int, asked: SwappedPrompts) -> tuple[int, ...]:
        """Return the tokens of a base, from 0, whose vectors are changed."""
        if asked.tokens is None:
            return (self.encoder.position(base, asked.site.position),)
        return asked.tokens.of_prompt(n_tokens, base.text)

    def interchange_logits(self, pairs: Sequence[ForcedPair], site: Site, featurizer: Actor | None) -> Tensor:
        """Return the logits that predict each label token; see the protocol."""
        check_sites([site], self.target)
        check_pairs(pairs)
        check_featurizer(featurizer, self.target, site)
        if not pairs:
            return torch.zeros(0, 0, int(self.target.config.vocab_size), device=self.target.device)
        rows = self._forced_rows(pairs)
        if featurizer is None:
            return self._in_passes(pairs, rows, site, None)
        sources = self.sources.stacked([pair.source for pair in pairs], site)

        home = self.target.device

        def swaps(batch: list[int]) -> Change:
            incoming = sources.index_select(0, torch.tensor(batch, device=sources.device))
            # A block may be computed elsewhere than the featurizer lies.
            return lambda base: featurizer.interchange(base.to(home), incoming).to(base.device)

        if not torch.is_grad_enabled():
            return self._in_passes(pairs, rows, site, swaps)
        whole = self.limit.at_once(lambda: self._in_passes(pairs, rows, site, swaps, again=False))
        if whole is not None:
            return whole
        return self._recomputed(pairs, site, featurizer, lambda batch, logits: logits)

    def forced_labels(self, groups: Sequence[FeaturizedPairs], site: Site) -> list[ForcedLabels]:
        """Return how the labels of each group fare under its own featurizer; see the protocol. Once memory
        did not suffice they are judged pass by pass, and the logits of a pass are let go."""
        whole = self.limit.at_once(lambda: BaseEngine.forced_labels(self, groups, site))
        if whole is not None:
            return whole
        return [self._recomputed_labels(group, site) for group in groups]

    def predicts(
        self, choices: Sequence[AnswerPair], site: Site, featurizer: Actor | None
    ) -> list[tuple[bool, bool]]:
        """Return for both answers whether they would be said; see the protocol. Once memory did not suffice
        the logits of a pass are let go before the next."""
        predicted: dict[int, tuple[bool, bool]] = {}
        lengths = [len(base.ids) for base in self.encoder.encode([choice.base.text for choice in choices])]

        def plan(left: Sequence[int]) -> list[list[int]]:
            return self._planned(lengths)(left) if self.limit.tight else [list(range(len(left)))]

        def one(batch: list[int]) -> None:
            some = [choices[i] for i in batch]
            predicted.update(zip(batch, BaseEngine.predicts(self, some, site, featurizer), strict=True))

        self.limit.each(len(choices), plan, one)
        return [predicted[i] for i in range(len(choices))]

    def _recomputed_labels(self, group: FeaturizedPairs, site: Site) -> ForcedLabels:
        check_pairs(group.pairs)
        check_featurizer(group.featurizer, self.target, site)
        if not group.pairs:
            return BaseEngine.forced_labels(self, [group], site)[0]
        correct = torch.zeros(len(group.pairs), dtype=torch.bool, device=self.target.device)

        def judged(batch: list[int], logits: Tensor) -> Tensor:
            some = [group.pairs[i] for i in batch]
            labels = forced_labels(logits, [pair.label_ids for pair in some], [pair.soft for pair in some])
            correct[torch.tensor(batch, device=correct.device)] = labels.correct.to(correct.device)
            return labels.cross_entropy

        losses = self._recomputed(group.pairs, site, group.featurizer, judged)
        return ForcedLabels(losses, correct)

    def _in_passes(
        self,
        pairs: Sequence[ForcedPair],
        rows: Sequence[tuple[int, ...]],
        site: Site,
        swaps: Callable[[list[int]], Change] | None,
        *,
        again: bool = True,
    ) -> Tensor:
        """Return the logits of all rows; `again`: what does not fit is halved, which is of no use where the
        graph of all passes is kept."""
        longest = max(len(pair.label_ids) for pair in pairs)
        parts: list[Tensor] = []
        order: list[int] = []

        def one(batch: list[int]) -> None:
            change = None if swaps is None else swaps(batch)
            parts.append(self._pass(batch, pairs, rows, site, longest, change))
            order.extend(batch)

        plan = self._planned([len(row) for row in rows])
        if again:
            self.limit.each(len(rows), plan, one)
        else:
            for batch in plan(range(len(rows))):
                one(batch)
        return _restored(torch.cat(parts), order)

    def _recomputed(
        self,
        pairs: Sequence[ForcedPair],
        site: Site,
        featurizer: Actor | None,
        judged: Callable[[list[int], Tensor], Tensor],
    ) -> Tensor:
        """Return what `judged` makes of the logits of each pass, row by row, with a gradient that keeps the
        graph of one pass at a time."""
        rows = self._forced_rows(pairs)
        longest = max(len(pair.label_ids) for pair in pairs)
        # A featurizer is given its pairs in the order in which passes run them, however large a pass is.
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        swapped = torch.zeros(len(rows), 0, device=self.target.device)
        if featurizer is not None:
            bases = self.sources.stacked([pairs[i].base for i in order], site).to(self.target.dtype)
            swapped = featurizer.interchange(
                bases, self.sources.stacked([pairs[i].source for i in order], site)
            )

        def one(places: list[int], changed: Tensor) -> Tensor:
            batch = [order[place] for place in places]
            change: Change | None = None if featurizer is None else changed.to
            return judged(batch, self._pass(batch, pairs, rows, site, longest, change))

        results = recomputed(self.limit, swapped, self._planned([len(rows[i]) for i in order]), one)
        return _restored(results, order)

    def _pass(
        self,
        batch: list[int],
        pairs: Sequence[ForcedPair],
        rows: Sequence[tuple[int, ...]],
        site: Site,
        longest: int,
        change: Change | None,
    ) -> Tensor:
        """Return the logits of a batch of rows in one pass, with `change` made at the site."""
        some, asked = [rows[i] for i in batch], [pairs[i] for i in batch]
        padded = self._passes.pad(some)
        if change is None:
            return self._passes.label_logits(padded, some, asked, longest)
        places = [self.encoder.position(pair.base, site.position) for pair in asked]
        with self._swap(padded, places, site, change):
            return self._passes.label_logits(padded, some, asked, longest)

    def _swap(
        self, padded: PaddedRows, places: list[int], site: Site, change: Change
    ) -> AbstractContextManager[None]:
        positions = torch.tensor(places, device=padded.shifts.device) + padded.shifts
        return rewritten(self.target.place(site), positions, change)

    def _read_batch(self, rows: Rows, keys: list[list[SourceKey]]) -> dict[SourceKey, Tensor]:
        padded = self._passes.pad(rows)
        return captured_vectors(
            self.target, rows, keys, lambda: self._passes.forward(padded), shifts=padded.shifts
        )

    def _forced_rows(self, pairs: Sequence[ForcedPair]) -> list[tuple[int, ...]]:
        """Return each base with its label forced; the label's last token is only predicted, never read."""
        bases = self.encoder.encode([pair.base.text for pair in pairs])
        rows = [base.ids + pair.label_ids[:-1] for base, pair in zip(bases, pairs, strict=True)]
        check_row_lengths([len(row) for row in rows], self.target)
        return rows

    def _planned(self, lengths: Sequence[int]) -> Plan:
        """Return how rows are shared out among passes; none has rows of both sides of a turning point."""

        def plan(left: Sequence[int]) -> list[list[int]]:
            size, sides = self.batch_tokens, self.target.sides(lengths[i] for i in left)
            batches: list[list[int]] = []
            for side in sorted(set(sides)):
                places = [place for place, other in enumerate(sides) if other == side]
                own = [lengths[left[place]] for place in places]
                planned = plan_batches(own, batch_tokens=size, enough_tokens=size // 16)
                batches += [[places[i] for i in batch] for batch in planned]
            return batches

        return plan

    def _let_go(self) -> None:
        """Forget what can be read again."""
        self.sources.cache.clear()


def _restored(rows: Tensor, order: list[int]) -> Tensor:
    """Undo the grouping: row i of `rows` goes to place `order[i]`."""
    if order == list(range(len(order))):
        return rows
    inverse = torch.empty(len(order), dtype=torch.long)
    inverse[torch.tensor(order)] = torch.arange(len(order))
    return rows[inverse.to(rows.device)]


def _all_decided(decided: Decided | None, askers: Sequence[Sequence[int]]) -> Settled | None:
    """Return a rule for rows from one for prompts: all prompts with a row's text must have enough."""
    if decided is None:
        return None
    return lambda row, token_ids: all(decided(place, token_ids) for place in askers[row])
