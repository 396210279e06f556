"""The plain way from the logits of an interchange, which each engine gives, to all that an engine can do."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from das.engine.base.batch import PromptEncoder
from das.engine.base.labels import ForcedLabels, forced_labels
from das.engine.base.pass_limit import PassLimit
from das.engine.base.protocol import (
    AnswerPair,
    Engine,
    FeaturizedPairs,
    ForcedPair,
    PromptPair,
    SwappedPrompts,
)
from das.engine.completing.new_tokens import NewTokens
from das.finding import Actor
from das.models.base import TargetModel
from das.out_of_memory import MemoryShortageError
from das.positions import EditedTokens
from das.sites import Site
from ravel.asking.answerer import Decided
from ravel.common.errors import SuiteError
from ravel.terms.schema import Completion

_LOG = logging.getLogger("das.engine")


def listen(engine: Engine, on_note: Callable[[str], None] | None) -> None:
    """Let an engine's lines for the user go to `on_note`, or to the log if None; not every engine has any."""
    if isinstance(engine, BaseEngine):
        engine.on_note = on_note


def batches_of(engine: Engine) -> dict[str, Any]:
    """Return what bounds the batches of an engine, as plain values, for sums of floats depend on who shares a
    pass. `lowered_to` stands only where memory did not suffice."""
    limit = engine.limit if isinstance(engine, BaseEngine) else None
    if limit is None:
        return {"engine": engine.name}
    lowered = {} if limit.size == limit.asked else {"lowered_to": limit.size}
    return {"engine": engine.name, "at_most": limit.asked, "unit": limit.unit, **lowered}


class BaseEngine(ABC):
    """Judges labels and answers by their logits, one featurizer and one answer at a time."""

    name: str
    """As on the command line."""
    target: TargetModel
    """The model that is run."""
    encoder: PromptEncoder
    """Tokenises prompts, once each."""
    limit: PassLimit | None = None
    """How much a pass may hold, for engines that can do with less."""
    on_note: Callable[[str], None] | None = None
    """Gets a line for the user, such as that memory did not suffice; None: it is logged as a warning."""

    @abstractmethod
    def interchange_logits(self, pairs: Sequence[ForcedPair], site: Site, featurizer: Actor | None) -> Tensor:
        """Return the logits that predict each label token; see the protocol."""

    def forced_labels(self, groups: Sequence[FeaturizedPairs], site: Site) -> list[ForcedLabels]:
        """Return how the labels of each group fare under its own featurizer; see the protocol."""
        return [
            forced_labels(
                self.interchange_logits(group.pairs, site, group.featurizer),
                [pair.label_ids for pair in group.pairs],
                [pair.soft for pair in group.pairs],
            )
            for group in groups
        ]

    def predicts(
        self, choices: Sequence[AnswerPair], site: Site, featurizer: Actor | None
    ) -> list[tuple[bool, bool]]:
        """Return for both answers whether they would be said; see the protocol."""
        first, second = (self._greedy_labels(choices, which, site, featurizer) for which in (0, 1))
        return list(zip(first, second, strict=True))

    def complete_swapped(
        self,
        pairs: Sequence[PromptPair],
        site: Site,
        featurizer: Actor | None,
        max_new_tokens: int,
        decided: Decided | None = None,
        tokens: EditedTokens | None = None,
    ) -> list[Completion]:
        """Continue each base greedily after the interchange, end token included; see the protocol."""
        return self._continued(SwappedPrompts(pairs, site, featurizer, max_new_tokens, decided, tokens))

    def _continued(self, asked: SwappedPrompts) -> list[Completion]:
        """For every new token the row runs again with those before it forced; `decided` is ignored."""
        self.check_tokens(asked.tokens)
        pairs = asked.pairs
        new = NewTokens(len(pairs), self.target.end_ids, asked.max_new_tokens)
        live = list(range(len(pairs))) if asked.max_new_tokens > 0 else []
        while live:
            # The last token of a label is predicted and never read: any id will do there.
            forced = [ForcedPair(pairs[i].base, pairs[i].source, (*new.of(i), 0)) for i in live]
            with torch.no_grad():
                logits = self.interchange_logits(forced, asked.site, asked.featurizer)[:, -1]
            best = logits.argmax(dim=-1).tolist()
            live = [i for i, token in zip(live, best, strict=True) if new.add(i, token)]
        return [self._completion(new.of(i)) for i in range(len(pairs))]

    def check_tokens(self, tokens: EditedTokens | None) -> None:
        """Raise SuiteError for any tokens but the site's: an engine that changes others overrides this."""
        if tokens is not None:
            raise SuiteError(
                expected=f"with the engine {self.name} changes at the site's position alone",
                came=f"the positions {tokens}",
                todo="use --engine direct or resume",
            )

    def shrink(self, came: str) -> None:
        """Let go of kept states and halve the passes to come; see the protocol."""
        if self.limit is None:
            raise MemoryShortageError(
                expected="room for a forward pass", came=came, todo="free some memory, or use --engine direct"
            )
        self.limit.lower(came)

    def suited_threads(self) -> AbstractContextManager[None]:
        """Return a block in which torch uses as many threads as elsewhere; an engine that chooses overrides
        this."""
        return nullcontext()

    def notify(self, text: str) -> None:
        """Pass a line for the user on."""
        if self.on_note is None:
            _LOG.warning("%s", text)
        else:
            self.on_note(text)

    def prefill(self, pairs: Sequence[ForcedPair], site: Site) -> None:  # noqa: B027
        """Do nothing: an engine that keeps states overrides this."""

    def tokens_after(self, pairs: Sequence[ForcedPair], site: Site) -> list[int]:
        """Return for each pair how many tokens its base has from the site on, label included."""
        bases = self.encoder.encode([pair.base.text for pair in pairs])
        return [
            len(base.ids) + len(pair.label_ids) - 1 - self.encoder.position(pair.base, site.position)
            for base, pair in zip(bases, pairs, strict=True)
        ]

    def _completion(self, token_ids: tuple[int, ...]) -> Completion:
        text: str = self.target.tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return Completion(text=text, token_ids=token_ids)

    def _no_vectors(self, site: Site) -> Tensor:
        return torch.zeros(0, self.target.width(site), device=self.target.device)

    def _greedy_labels(
        self, choices: Sequence[AnswerPair], which: int, site: Site, featurizer: Actor | None
    ) -> list[bool]:
        if not choices:
            return []
        pairs = [ForcedPair(c.base, c.source, c.answers[which]) for c in choices]
        with torch.no_grad():
            best = self.interchange_logits(pairs, site, featurizer).argmax(dim=-1).tolist()
        return [
            tuple(row[: len(pair.label_ids)]) == pair.label_ids for row, pair in zip(best, pairs, strict=True)
        ]
