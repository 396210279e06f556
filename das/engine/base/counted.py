"""An engine that counts what it is asked for; it knows no method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from das.engine.base.labels import ForcedLabels
from das.engine.base.protocol import AnswerPair, Engine, FeaturizedPairs, ForcedPair, PromptPair
from das.finding import Actor
from das.passes import PassCount, PassCounter
from das.sites import Site
from ravel.terms.schema import Completion, Prompt


def counted(engine: Engine, counter: PassCounter) -> Engine:
    """Return the engine, counting what it is asked for."""
    return cast("Engine", _CountedEngine(engine, counter))


def uncounted(engine: Engine) -> Engine:
    """Return the engine that counts nothing, for those who count themselves what they ask."""
    return engine.inner if isinstance(engine, _CountedEngine) else engine


class _CountedEngine:
    """An engine that counts and passes everything on."""

    def __init__(self, engine: Engine, counter: PassCounter) -> None:
        self.inner = engine
        self._counter = counter

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def collect(self, prompts: Sequence[Prompt], sites: Sequence[Site]) -> dict[Site, Tensor]:
        self._count(prompts)
        return self.inner.collect(prompts, sites)

    def complete(self, prompts: Sequence[Prompt], *args: Any, **options: Any) -> list[Completion]:
        self._count(prompts)
        return self.inner.complete(prompts, *args, **options)

    def interchange_logits(self, pairs: Sequence[ForcedPair], site: Site, featurizer: Actor | None) -> Tensor:
        self._count(pairs, back=_wants_gradient(featurizer))
        return self.inner.interchange_logits(pairs, site, featurizer)

    def forced_labels(self, groups: Sequence[FeaturizedPairs], site: Site) -> list[ForcedLabels]:
        for group in groups:
            self._count(group.pairs, back=_wants_gradient(group.featurizer))
        return self.inner.forced_labels(groups, site)

    def predicts(
        self, choices: Sequence[AnswerPair], site: Site, featurizer: Actor | None
    ) -> list[tuple[bool, bool]]:
        self._count(choices)
        return self.inner.predicts(choices, site, featurizer)

    def complete_swapped(self, pairs: Sequence[PromptPair], *args: Any, **options: Any) -> list[Completion]:
        self._count(pairs)
        return self.inner.complete_swapped(pairs, *args, **options)

    def _count(self, rows: Sequence[object], *, back: bool = False) -> None:
        self._counter.add(PassCount(len(rows), len(rows) if back else 0))


def _wants_gradient(featurizer: Actor | None) -> bool:
    return featurizer is not None and torch.is_grad_enabled()
