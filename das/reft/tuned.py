"""What was or is being learned for a model, and how it is at work within a block of code; how it is trained
and kept is not known here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from das.engine.base.hooks import added_to, changed_at
from das.models.base import TargetModel
from das.positions import Positions
from das.reft.forms import LowRankChange
from das.reft.lora import LoraTerm, features_of, projections
from das.reft.settings import LORA, ReftConfig
from das.sites import Site
from ravel.common.errors import SuiteError


@dataclass(frozen=True, slots=True)
class PromptPlaces:
    """Where prompts stand in the rows of one rectangle of tokens."""

    starts: tuple[int, ...]
    """Column of each prompt's first token."""
    lengths: tuple[int, ...]
    """Tokens of each prompt."""


class Tuned(nn.Module, ABC):
    """Learned changes of one model, which itself stays as it is."""

    @abstractmethod
    def at_work(
        self, target: TargetModel, places: PromptPlaces, *, cached: bool = False
    ) -> AbstractContextManager[None]:
        """Return a block within which the passes of this thread are changed. Prompts stand at `places` in
        every pass or, where later passes are `cached`, in the first one."""

    @abstractmethod
    def check(self, target: TargetModel) -> None:
        """Raise SuiteError unless the model has all places, and of these widths."""

    def retract(self) -> None:
        """Put parameters back to where they have to stay, after a step."""

    def check_prompt(self, n_tokens: int, text: str) -> None:
        """Raise SuiteError for a prompt of which nothing would be changed."""

    @final
    @property
    def n_parameters(self) -> int:
        """Numbers that are learned."""
        return sum(parameter.numel() for parameter in self.parameters())


class TunedStates(Tuned):
    """ReFT (Wu et al. 2024, arXiv 2404.03592): hidden states after blocks are changed at some tokens of the
    prompt, and at no generated one."""

    def __init__(self, positions: Positions, changes: Mapping[int, Sequence[LowRankChange]]) -> None:
        """Keep one change for each layer, or two: for the first and for the last tokens."""
        super().__init__()
        self.positions = positions
        """Which tokens."""
        self.layers = tuple(sorted(changes))
        """Blocks whose output is changed."""
        counts = {len(changes[layer]) for layer in self.layers}
        if counts not in ({1}, {2}):
            raise SuiteError(
                expected="one change in each layer, or two in each",
                came=" and ".join(map(str, sorted(counts))) or "no layer",
                todo="give as many for every layer",
            )
        self.tied = counts == {1}
        """Whether first and last tokens share a change."""
        self.changes = nn.ModuleList(change for layer in self.layers for change in changes[layer])
        """Changes of the layers in order, those of the first tokens before those of the last."""

    def parts(self) -> Iterator[tuple[int, int, LowRankChange]]:
        """Yield layer, group (0: first or all tokens, 1: last ones) and change."""
        per_layer = 1 if self.tied else 2
        for place, change in enumerate(self.changes):
            assert isinstance(change, LowRankChange)
            yield self.layers[place // per_layer], place % per_layer, change

    @contextmanager
    def at_work(self, target: TargetModel, places: PromptPlaces, *, cached: bool = False) -> Iterator[None]:
        """As `Tuned.at_work`."""
        tokens = self._tokens(places)
        with ExitStack() as stack:
            for layer, group, change in self.parts():
                if len(tokens[group][0]):
                    place = target.place(Site(layer))
                    n = len(places.starts)
                    stack.enter_context(changed_at(place, n, tokens[group], change, first_pass_only=cached))
            yield

    def _tokens(self, places: PromptPlaces) -> list[tuple[Tensor, Tensor]]:
        """Return (rows, columns) of the tokens of each group."""
        groups: list[list[tuple[int, int]]] = [[], []]
        for row, (start, length) in enumerate(zip(places.starts, places.lengths, strict=True)):
            for group, chosen in enumerate(self.positions.chosen(length)):
                groups[0 if self.tied else group] += [(row, start + place) for place in chosen]
        return [(torch.tensor([r for r, _ in g]), torch.tensor([c for _, c in g])) for g in groups]

    def check(self, target: TargetModel) -> None:
        """As `Tuned.check`."""
        for layer, _, change in self.parts():
            site = Site(layer)
            target.check(site)
            if change.width != target.width(site):
                raise _other_width(f"layer {layer}", change.width, target.width(site), target.name)

    def check_prompt(self, n_tokens: int, text: str) -> None:
        """As `Tuned.check_prompt`."""
        self.positions.check(n_tokens, text)

    def retract(self) -> None:
        """As `Tuned.retract`."""
        for _, _, change in self.parts():
            change.retract()


class TunedProjections(Tuned):
    """LoRA: linear layers of the model have a term beside them, at every token."""

    def __init__(self, terms: dict[str, LoraTerm]) -> None:
        """Keep a term for each linear layer, by its path in the model."""
        super().__init__()
        self.paths = tuple(terms)
        """Paths of the layers, in the order of `terms`."""
        self.terms = nn.ModuleList(terms.values())
        """What is added to each."""

    def parts(self) -> Iterator[tuple[str, LoraTerm]]:
        """Yield the path of each layer and its term."""
        for path, term in zip(self.paths, self.terms, strict=True):
            assert isinstance(term, LoraTerm)
            yield path, term

    @contextmanager
    def at_work(self, target: TargetModel, places: PromptPlaces, *, cached: bool = False) -> Iterator[None]:
        """As `Tuned.at_work`; at every token of every pass."""
        with ExitStack() as stack:
            for path, term in self.parts():
                stack.enter_context(added_to(target.model.get_submodule(path), term))
            yield

    def check(self, target: TargetModel) -> None:
        """As `Tuned.check`."""
        known = dict(target.model.named_modules())
        for path, term in self.parts():
            if path not in known or not hasattr(known[path], "weight"):
                raise SuiteError(
                    expected=f"changes of linear layers of {target.name}",
                    came=f"one of {path}, which it has not",
                    todo="give the model that they were trained on with --model",
                )
            wanted, came = features_of(known[path]), (term.down.shape[1], term.up.shape[0])
            if came != wanted:
                raise _other_width(path, came, wanted, target.name)


def _other_width(where: str, came: object, wanted: object, model: str) -> SuiteError:
    return SuiteError(
        expected=f"changes for {model}, of width {wanted} at {where}",
        came=str(came),
        todo="give the model that they were trained on with --model",
    )


def fresh_tuned(config: ReftConfig, target: TargetModel, generator: torch.Generator) -> Tuned:
    """Return what a config asks for, to be trained. Raises SuiteError for layers, positions, a rank or
    modules that do not fit the model."""
    layers = config.chosen_layers(target.n_layers)
    if config.kind == LORA:
        found = projections(target, layers, config.modules)
        scale = config.alpha / config.rank
        made = {
            path: LoraTerm.fresh(*features_of(m), config.rank, scale, generator) for path, m in found.items()
        }
        return _on(TunedProjections(made), target)
    positions = config.places()
    groups = 1 if config.tied or not (positions.first and positions.last) else 2
    changes = {
        layer: [
            LowRankChange.fresh(config.kind, target.width(Site(layer)), config.rank, generator)
            for _ in range(groups)
        ]
        for layer in layers
    }
    return _on(TunedStates(positions, changes), target)


def _on(tuned: Tuned, target: TargetModel) -> Tuned:
    tuned.check(target)
    return tuned.to(target.device)
