"""The engine that computes nothing before a site twice: it runs on from kept states."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from das.engine.base.checks import check_row_lengths
from das.engine.base.cut_rows import CutRow
from das.engine.base.labels import ForcedLabels, likeliest, packed_labels
from das.engine.base.lanes import Lanes
from das.engine.base.protocol import AnswerPair, FeaturizedPairs, ForcedPair, PromptPair, SwappedPrompts
from das.engine.completing.new_tokens import NewTokens
from das.engine.engines.answer_pairs import predicted_answers
from das.engine.engines.direct import DirectEngine
from das.engine.engines.resumed_passes import ResumedPasses
from das.engine.engines.source_vectors import Rows, captured_vectors
from das.engine.kept.cache import SourceKey
from das.engine.kept.disk_cache import DiskCache, model_identity
from das.engine.kept.memory import default_cache_bytes
from das.engine.kept.state_pool import StateCache
from das.engine.resuming.key_values import Begun
from das.engine.resuming.state_runner import StateRunner
from das.finding import Actor
from das.models.base import TargetModel
from das.positions import EditedTokens
from das.sites import Site
from das.threads import SuitedThreads
from ravel.terms.schema import Completion, Prompt

_LOG = logging.getLogger(__name__)
_LANE_WEIGHTS = 1 << 20
"""Fewest weights of a block for passes side by side: on smaller ones they wait for Python's lock."""
_BEGINNERS = 4
"""Rows that are taken to share what stands before their sites, which runs again in the lower blocks for each
new token."""


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
        self._declined = False
        self._threads = SuitedThreads(target.d_model, self.notify)
        limit = default_cache_bytes(target.device) if state_bytes is None else state_bytes
        self.states = StateCache(limit)
        """The kept states of base rows."""
        identity = model_identity(target.instrument.own_fingerprint, target.dtype, target.device)
        spill = None if cache_folder is None else DiskCache(cache_folder, identity)
        self._runner = StateRunner(target, self.states, self.limit, spill, Lanes(self._lanes))
        self._resumed = ResumedPasses(target, self.encoder, self.limit, self.sources, self._runner)

    def _lanes(self) -> int:
        """Return how many passes may run side by side: as many as there are threads, if a pass is long
        enough to be worth one."""
        on_cpu = self.target.device.type == "cpu"
        return self._threads.most if on_cpu and self._runner.block_weights >= _LANE_WEIGHTS else 1

    def suited_threads(self) -> AbstractContextManager[None]:
        """Return a block with one thread or all, whichever is faster; see the protocol. Only where no bit
        depends on it."""
        target = self.target
        free = target.device.type == "cpu" and target.dtype == torch.float32 and target.no_resume is None
        return self._threads.block() if free else nullcontext()

    @cached_property
    def fallback(self) -> str | None:
        """Why the model can't be resumed, found out when first asked and logged once; None if it can. What
        was put to the self-test was compared with the model's own forward there."""
        reason = self.target.no_resume or self._runner.refusal(compared=self.target.refused is None)
        if reason is not None:
            _LOG.warning("%s is run by the engine direct: %s", self.target.name, reason)
        return reason

    def interchange_logits(self, pairs: Sequence[ForcedPair], site: Site, featurizer: Actor | None) -> Tensor:
        """Return the logits that predict each label token; see the protocol."""
        if not pairs or self._by_direct(_forced(pairs)):
            return super().interchange_logits(pairs, site, featurizer)
        groups, lengths = [FeaturizedPairs(pairs, featurizer)], [len(pair.label_ids) for pair in pairs]
        whole = self.limit.at_once(lambda: _laid_out(self._resumed.label_logits(groups, site), lengths))
        if whole is not None:
            return whole

        def judged(batch: list[int], logits: Tensor) -> Tensor:
            return _laid_out(logits, [lengths[i] for i in batch], longest=max(lengths))

        return self._resumed.recomputed(groups, site, judged)

    def forced_labels(self, groups: Sequence[FeaturizedPairs], site: Site) -> list[ForcedLabels]:
        """Return how the labels of each group fare under its own featurizer; see the protocol."""
        mixed = len({group.featurizer is None for group in groups}) != 1
        empty = not all(group.pairs for group in groups)
        if mixed or empty or self._by_direct(_forced([pair for group in groups for pair in group.pairs])):
            return super().forced_labels(groups, site)
        whole = self.limit.at_once(lambda: self._at_once(groups, site))
        if whole is not None:
            return whole
        pairs = [pair for group in groups for pair in group.pairs]
        correct = torch.zeros(len(pairs), dtype=torch.bool, device=self.target.device)

        def judged(batch: list[int], logits: Tensor) -> Tensor:
            labels = _judged(logits, [pairs[i] for i in batch])
            correct[torch.tensor(batch, device=correct.device)] = labels.correct.to(correct.device)
            return labels.cross_entropy

        sizes = [len(group.pairs) for group in groups]
        losses = self._resumed.recomputed(groups, site, judged).split(sizes)
        return [ForcedLabels(*both) for both in zip(losses, correct.split(sizes), strict=True)]

    def _at_once(self, groups: Sequence[FeaturizedPairs], site: Site) -> list[ForcedLabels]:
        """Judge all groups with the graph of all passes kept."""
        packed = self._resumed.label_logits(groups, site)
        parts = packed.split([sum(len(pair.label_ids) for pair in group.pairs) for group in groups])
        return [_judged(part, group.pairs) for part, group in zip(parts, groups, strict=True)]

    def predicts(
        self, choices: Sequence[AnswerPair], site: Site, featurizer: Actor | None
    ) -> list[tuple[bool, bool]]:
        """Return for both answers whether they would be said; see the protocol. Both run in one pass, for
        they share all up to the prompt's last token."""
        if not choices or self._by_direct([(c.base, sum(map(len, c.answers)) - 2) for c in choices]):
            return super().predicts(choices, site, featurizer)
        self._resumed.check(site, [featurizer])
        rows = self._resumed.rows([c.base for c in choices], [c.answers for c in choices], site)
        predicted: list[tuple[bool, bool]] = [(False, False)] * len(rows)

        def judged(batch: list[int], asked: Tensor) -> None:
            some = [choices[i] for i in batch]
            for i, both in zip(
                batch, predicted_answers(asked, some, self._runner.runner.logits), strict=True
            ):
                predicted[i] = both

        self._resumed.each(rows, [PromptPair(c.base, c.source) for c in choices], site, featurizer, judged)
        return predicted

    def _continued(self, asked: SwappedPrompts) -> list[Completion]:
        """Each row goes on in the way that reads fewer of its tokens, whatever stands beside it: as
        `DirectEngine` does it, whole and once, or from the site on, with each new token again."""
        pairs, most = asked.pairs, asked.max_new_tokens
        if asked.tokens is not None:
            self._decline(asked.tokens)
            return super()._continued(asked)
        if not pairs or asked.featurizer is None or self._by_direct([(p.base, most) for p in pairs]):
            return super()._continued(asked)
        self._resumed.check(asked.site, [asked.featurizer])
        rows = self._resumed.rows([pair.base for pair in pairs], [((0,),)] * len(pairs), asked.site)
        whole = [i for i, row in enumerate(rows) if self._is_cheaper_whole(row, most)]
        rest = sorted(set(range(len(rows))) - set(whole))
        found = dict(zip(whole, super()._continued(_some_of(asked, whole)), strict=True))
        found |= zip(rest, self._run_on([rows[i] for i in rest], _some_of(asked, rest)), strict=True)
        return [found[i] for i in range(len(rows))]

    def _is_cheaper_whole(self, row: CutRow, most: int) -> bool:
        """Tell whether a row whose new tokens run alone, behind the model's own cache, has fewer tokens than
        one that runs on from the site for each of them."""
        run_on = sum(row.start / _BEGINNERS + row.after + new for new in range(most))
        return most > 1 and run_on > len(row.ids) + most - 1 and self._completer.grows

    def _run_on(self, rows: Sequence[CutRow], asked: SwappedPrompts) -> list[Completion]:
        """Every new token is read with all rows that still go on in one pass, from the site on; what such
        rows leave behind is not kept."""
        if not rows:
            return []
        pairs, site, featurizer, most = asked.pairs, asked.site, asked.featurizer, asked.max_new_tokens
        bases, sources = [pair.base for pair in pairs], [pair.source for pair in pairs]
        check_row_lengths([len(row.ids) + most for row in rows], self.target)
        with torch.no_grad():
            swapped = self.limit.fitted(lambda: self._resumed.swapped(rows, bases, sources, site, featurizer))
        self._runner.settle()
        new = NewTokens(len(rows), self.target.end_ids, most, asked.decided)
        live = list(range(len(rows))) if most else []
        while live:
            tokens = self._next_tokens(rows, new, live, site, swapped)
            live = [i for i, token in zip(live, tokens, strict=True) if new.add(i, token)]
        return [self._completion(new.of(i)) for i in range(len(rows))]

    def _decline(self, tokens: EditedTokens) -> None:
        """Say once that changes at other tokens than the site's don't run on from kept states."""
        if not self._declined:
            self._declined = True
            self.notify(f"changes at the positions {tokens} are made by the engine direct, in whole rows")

    def _next_tokens(
        self,
        rows: Sequence[CutRow],
        new: NewTokens,
        live: Sequence[int],
        site: Site,
        swapped: Tensor | None,
    ) -> list[int]:
        """Return the likeliest token after each live row and its new ones so far."""
        grown = [
            CutRow(ids, rows[i].start, len(ids), len(ids)) for i in live for ids in (rows[i].ids + new.of(i),)
        ]
        tokens = [0] * len(grown)

        def one(batch: list[int]) -> None:
            with torch.no_grad():
                some = [grown[j] for j in batch]
                chosen = torch.tensor([live[j] for j in batch], device=self.target.device)
                changed = None if swapped is None else swapped.index_select(0, chosen)
                logits = self._runner.runner.logits(self._resumed.asked(some, site, changed))
                for j, token in zip(batch, likeliest(logits), strict=True):
                    tokens[j] = token
            self._runner.drop()

        self.limit.each(len(grown), self._resumed.plan(grown), one)
        return tokens

    def prefill(self, pairs: Sequence[ForcedPair], site: Site) -> None:
        """Run these bases and sources for the first time, if there is room for all; see the protocol."""
        if pairs and not self._by_direct(_forced(pairs)):
            self._resumed.check(site, [])
            bases, labels = [pair.base for pair in pairs], [(pair.label_ids,) for pair in pairs]
            self._resumed.prefill(
                self._resumed.rows(bases, labels, site), [pair.source for pair in pairs], site
            )
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

    def _let_go(self) -> None:
        """Forget every kept state, and keep half as many from now on."""
        super()._let_go()
        self.states.clear()
        self.states.max_bytes //= 2

    def _read_batch(self, rows: Rows, keys: list[list[SourceKey]]) -> dict[SourceKey, Tensor]:
        longest = max(map(len, rows))
        if self.fallback is not None or self.target.side(longest) or not self._reaches(longest):
            return super()._read_batch(rows, keys)
        # Nothing after the last wanted token is run.
        ends = [max(key.token for key in of_row) + 1 for of_row in keys]
        beginnings = [row[:end] for row, end in zip(rows, ends, strict=True)]
        firsts = [min(key.token for key in of_row) for of_row in keys]
        blocks = max(key.layer for of_row in keys for key in of_row) + 1
        found: dict[SourceKey, Tensor] = {}

        def one(places: list[int], begun: Begun) -> dict[SourceKey, Tensor]:
            shifts = torch.tensor([-row.start for row in begun.rows], device=self.target.device)
            read, of_rows = partial(self._runner.read, begun), [beginnings[i] for i in places]
            return captured_vectors(self.target, of_rows, [keys[i] for i in places], read, shifts)

        passes = [partial(one, *some) for some in self._runner.begun(beginnings, firsts, blocks)]
        for of_pass in self._runner.lanes.run(passes):
            found |= of_pass
        return found


def _some_of(asked: SwappedPrompts, places: Sequence[int]) -> SwappedPrompts:
    """Return what is asked of some pairs only."""
    decided = asked.decided
    among = None if decided is None else (lambda i, ids: decided(places[i], ids))
    return replace(asked, pairs=[asked.pairs[i] for i in places], decided=among)


def _judged(logits: Tensor, pairs: Sequence[ForcedPair]) -> ForcedLabels:
    return packed_labels(logits, [pair.label_ids for pair in pairs], [pair.soft for pair in pairs])


def _forced(pairs: Sequence[ForcedPair]) -> list[tuple[Prompt, int]]:
    """Return each base with how many tokens of its label are read."""
    return [(pair.base, len(pair.label_ids) - 1) for pair in pairs]


def _laid_out(packed: Tensor, lengths: Sequence[int], *, longest: int | None = None) -> Tensor:
    """Put logits [n, vocabulary] into [rows, longest, vocabulary], zeros after each row's own label."""
    longest, vocabulary = longest or max(lengths), packed.shape[1]
    if min(lengths) < longest:
        places = [i * longest + j for i, length in enumerate(lengths) for j in range(length)]
        table = packed.new_zeros(len(lengths) * longest, vocabulary)
        packed = table.index_copy(0, torch.tensor(places, device=packed.device), packed)
    return packed.view(len(lengths), longest, vocabulary)
