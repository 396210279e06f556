"""What every engine can do. It knows prompts, tokens, positions, a featurizer; no attributes, no methods."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from das.engine.base.labels import ForcedLabels
from das.engine.base.soft_labels import SoftLabel
from das.finding import Actor
from das.models.base import TargetModel
from das.positions import EditedTokens
from das.sites import Site
from ravel.asking.answerer import Decided
from ravel.terms.schema import Completion, Prompt


@dataclass(frozen=True, slots=True)
class PromptPair:
    """A base prompt that is answered, and the source prompt whose vector at the site is brought in."""

    base: Prompt
    """The prompt that is answered."""
    source: Prompt
    """The prompt of the interchange's source."""


@dataclass(frozen=True, slots=True)
class ForcedPair(PromptPair):
    """A pair with a label forced after the base."""

    label_ids: tuple[int, ...]
    """Token ids put after the base prompt; at least one."""
    soft: SoftLabel | None = None
    """What is wanted at each of their places instead, if not just they."""


@dataclass(frozen=True, slots=True)
class AnswerPair(PromptPair):
    """A pair with two answers of which each might be said."""

    answers: tuple[tuple[int, ...], tuple[int, ...]]
    """Token ids of both, none empty."""


@dataclass(frozen=True, slots=True)
class FeaturizedPairs:
    """Pairs that go through one featurizer."""

    pairs: Sequence[ForcedPair]
    """The pairs."""
    featurizer: Actor | None
    """What swaps; None: nothing is changed."""


@dataclass(frozen=True, slots=True)
class SwappedPrompts:
    """What `Engine.complete_swapped` is asked for."""

    pairs: Sequence[PromptPair]
    """The pairs, with nothing forced after the bases."""
    site: Site
    """Where vectors are swapped."""
    featurizer: Actor | None
    """What swaps; None: nothing is changed."""
    max_new_tokens: int
    """Tokens of a continuation at most."""
    decided: Decided | None = None
    """Which continuations may stop."""
    tokens: EditedTokens | None = None
    """At which tokens the featurizer acts; None: at the site's position alone."""


class Engine(Protocol):
    """Runs a target model. `reference`, `direct` and `resume` agree on values and gradients."""

    name: str
    """As on the command line: `direct`."""
    target: TargetModel
    """The model that is run."""

    def collect(self, prompts: Sequence[Prompt], sites: Sequence[Site]) -> dict[Site, Tensor]:
        """Return the vectors at each site, [n_prompts, width] in float32, in the order of `prompts`; no
        gradient. The width is the target's at that site."""

    def complete(
        self,
        prompts: Sequence[Prompt],
        max_new_tokens: int,
        decided: Decided | None = None,
        begun: Sequence[tuple[int, ...]] | None = None,
    ) -> list[Completion]:
        """Continue each prompt greedily, in order. A completion may stop where `decided` says so, called with
        a prompt's place and its new token ids so far; an engine may ignore it. `begun` are new token ids that
        each prompt has already: they are gone on from, and count among the completion's."""

    def interchange_logits(self, pairs: Sequence[ForcedPair], site: Site, featurizer: Actor | None) -> Tensor:
        """Return the logits that predict each label token, [n_pairs, longest label, vocabulary] in float32.

        Position j of a row predicts `label_ids[j]`; rows with shorter labels are filled with zeros at the
        end. With `featurizer=None` nothing is changed. Gradients flow to the featurizer's parameters only,
        where autograd is on.
        """

    def forced_labels(self, groups: Sequence[FeaturizedPairs], site: Site) -> list[ForcedLabels]:
        """Return how the labels of each group fare under its own featurizer, in order, as they would for the
        group alone. Gradients flow as in `interchange_logits`."""

    def predicts(
        self, choices: Sequence[AnswerPair], site: Site, featurizer: Actor | None
    ) -> list[tuple[bool, bool]]:
        """Return for both answers whether, forced, each of their tokens is the likeliest at its place: just
        then a greedy continuation begins with the answer. No gradient."""

    def complete_swapped(
        self,
        pairs: Sequence[PromptPair],
        site: Site,
        featurizer: Actor | None,
        max_new_tokens: int,
        decided: Decided | None = None,
        tokens: EditedTokens | None = None,
    ) -> list[Completion]:
        """Continue each base greedily, in order, after the interchange at the site's position in the base;
        new tokens are not interchanged. With `tokens` it is at these instead, with the one source at each.
        `decided` as in `complete`. No gradient."""

    def check_tokens(self, tokens: EditedTokens | None) -> None:
        """Raise SuiteError unless `complete_swapped` can change vectors at these tokens."""

    def tokens_after(self, pairs: Sequence[ForcedPair], site: Site) -> list[int]:
        """Return for each pair how many tokens its base has from the site on, label included."""

    def shrink(self, came: str) -> None:
        """Let go of kept states and halve the passes to come, because memory did not suffice for a way back,
        as `came` says. No result depends on it. Raises SuiteError where nothing is left to halve."""

    def suited_threads(self) -> AbstractContextManager[None]:
        """Return a block for what is computed beside the engine's own calls, such as a way back: torch then
        uses as many processor threads as are fastest just now. No result depends on it."""

    def prefill(self, pairs: Sequence[ForcedPair], site: Site) -> None:
        """Run now, in large batches, what all these pairs will need again and again, as far as there is room
        to keep it; no result depends on it."""


@runtime_checkable
class SamplingEngine(Protocol):
    """An engine that can also continue prompts by chance."""

    def sample(
        self, prompts: Sequence[Prompt], chances: Tensor, temperature: float, decided: Decided | None = None
    ) -> list[list[Completion]]:
        """Continue each prompt once for each of its rows of chances in [0, 1), [n_prompts, n_samples,
        max_new_tokens]: a new token is drawn from the softmax of logits / temperature by the next chance.
        `decided` as in `Engine.complete`, for every sample of a prompt by itself."""
