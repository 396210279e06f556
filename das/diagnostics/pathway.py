"""Whether an interchange works through hidden units driven to where no natural run drives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import ceil, floor

import torch
from torch import Tensor

from das.diagnostics.modules import mlp_output
from das.engine.base.batch import PaddedRows, PromptEncoder, pad_rows, plan_batches
from das.engine.base.checks import check_row_lengths
from das.engine.base.hooks import captured, clipped
from das.engine.base.protocol import SwappedPrompts
from das.engine.engines.base_engine import BaseEngine
from das.engine.engines.direct import Change, DirectEngine
from das.methods.common.base import NotApplicableError
from das.models.base import Place, TargetModel
from das.positions import EditedTokens
from das.sites import Site
from ravel.common.errors import SuiteError
from ravel.terms.schema import Completion, Prompt

TAIL = 0.001
"""Share of natural values left outside a unit's range on each side: ranges are [0.1 %, 99.9 %]."""
_BATCH_TOKENS = 16_384


@dataclass(frozen=True)
class NaturalRanges:
    """Between which values each hidden unit above a site moves in natural runs. Made by `record`."""

    site: Site
    """Where the interchange is to be."""
    lowest: Mapping[int, Tensor]
    """Per block above the site, the `tail` quantile of each unit of its MLP, [n_units] in float32 on the
    CPU."""
    highest: Mapping[int, Tensor]
    """Likewise the `1 - tail` quantile."""
    tokens: int
    """From how many tokens the quantiles are; below 1 / tail they are near the least and greatest values."""

    @classmethod
    def record(
        cls,
        target: TargetModel,
        site: Site,
        prompts: Sequence[Prompt],
        label_ids: Sequence[tuple[int, ...]] | None = None,
        *,
        tail: float = TAIL,
        batch_tokens: int = _BATCH_TOKENS,
    ) -> NaturalRanges:
        """Read prompts without any interchange and keep the range of each hidden unit above the site.

        Hidden units are the inputs of the last linear layer of an MLP, in every block above the site; for
        `attention_output` and `head_output` the site's own block counts too. All tokens from the site's
        position on count alike, those of `label_ids` put after each prompt included (the last is predicted
        only), for these are what an interchange with that label forced reads. Prompts should be natural runs
        of the answers that the interchange is to bring about. Quantiles interpolate linearly.

        Raises SuiteError for no prompts, another number of labels, a tail outside [0, 0.5) and a site that
        the model lacks; NotApplicableError where no block is above the site, or an MLP has no such layer.
        """
        _check_record(prompts, label_ids, tail)
        layers = _layers_above(target, site)
        places = {layer: Place(mlp_output(target, layer), "input") for layer in layers}
        rows, starts = _rows(target, site, prompts, label_ids)
        total = sum(len(row) - start for row, start in zip(rows, starts, strict=True))
        extremes = {layer: _Extremes(total, tail) for layer in layers}
        for batch in plan_batches([len(row) for row in rows], batch_tokens=batch_tokens, enough_tokens=1024):
            read = _read(target, places, [rows[i] for i in batch])
            for layer, values in read.items():
                real = _from_starts(
                    [len(rows[i]) for i in batch], [starts[i] for i in batch], values.shape[1]
                )
                extremes[layer].add(values[real])
        return cls(
            site=site,
            lowest={layer: extreme.lowest() for layer, extreme in extremes.items()},
            highest={layer: extreme.highest() for layer, extreme in extremes.items()},
            tokens=total,
        )


def clamped(target: TargetModel, ranges: NaturalRanges, *, batch_tokens: int = _BATCH_TOKENS) -> DirectEngine:
    """Return an engine whose interchanges at the ranges' site keep hidden units in their natural ranges.

    From the token of the interchange on, each hidden unit above the site is put back to the nearest end of
    its range where it leaves it; tokens before are those of the base in any case. Sources are read, and
    prompts without an interchange run, as in any other engine. It is a `direct` engine: `resume` runs blocks
    in another order and is not used for this. An interchange that changes nothing (`Subspace` of size 0)
    shows what clamping alone costs. The engine raises SuiteError for another site than the ranges'.
    """
    return _ClampedEngine(target, ranges, batch_tokens)


class _ClampedEngine(DirectEngine):
    def __init__(self, target: TargetModel, ranges: NaturalRanges, batch_tokens: int) -> None:
        super().__init__(target, batch_tokens)
        self._ranges = ranges
        self._places = {layer: Place(mlp_output(target, layer), "input") for layer in ranges.lowest}

    @contextmanager
    def _swap(self, padded: PaddedRows, places: list[int], site: Site, change: Change) -> Iterator[None]:
        self._check_site(site)
        starts = torch.tensor(places, device=padded.shifts.device) + padded.shifts
        with ExitStack() as stack:
            for layer, place in self._places.items():
                ends = self._ranges.lowest[layer], self._ranges.highest[layer]
                stack.enter_context(clipped(place, starts, *ends))
            stack.enter_context(super()._swap(padded, places, site, change))
            yield

    def check_tokens(self, tokens: EditedTokens | None) -> None:
        """Raise SuiteError for any tokens but the site's, from which on units are clamped."""
        BaseEngine.check_tokens(self, tokens)

    def _continued(self, asked: SwappedPrompts) -> list[Completion]:
        """Within the clamped interchange the row runs again for each token."""
        return BaseEngine._continued(self, asked)

    def _check_site(self, site: Site) -> None:
        if site != self._ranges.site:
            raise SuiteError(
                expected=f"an interchange at {self._ranges.site}, for which the ranges were recorded",
                came=f"one at {site}",
                todo="record ranges for that site",
            )


@dataclass(frozen=True)
class PathwayContribution:
    """How much of what an interchange does goes through hidden units outside their natural ranges."""

    lost_share: Tensor
    """Per pair that counts, the lost part of the gained margin, [n]: 0 nothing, 1 all of it. Not cut off: a
    pair may lose more than it gained, or gain by clamping."""
    contribution: float | None
    """The lost margin of all counted pairs together by their gained margin; None if no pair counts."""
    answers_lost: float | None
    """Share of the counted pairs in which the swapped answer no longer leads; None if no pair counts."""
    counted: int
    """Pairs in which the free interchange makes the swapped answer lead: only they have something to lose."""


def hidden_pathway_contribution(
    margins_free: Tensor, margins_clamped: Tensor, margins_base: Tensor | None = None
) -> PathwayContribution:
    """Compare margins [n_pairs] of an interchange with those of the same interchange clamped.

    A margin is the swapped answer's log-probability (or logit) minus the unchanged answer's. A pair counts if
    its free margin is above 0 and above its base's. With `margins_base`, those without any interchange, the
    gain is free - base, and the lost share (free - clamped) / (free - base); without them the base's margin
    is taken to be 0. After the hidden-pathway contribution of a study of planted pathways ("Right Answer,
    Wrong Mechanism", 2026), which reports the lost margin; that it is divided by the gain is ours. Raises
    SuiteError for different numbers of pairs.
    """
    free, kept = margins_free.detach().double().cpu(), margins_clamped.detach().double().cpu()
    base = torch.zeros_like(free) if margins_base is None else margins_base.detach().double().cpu()
    if free.ndim != 1 or not free.shape == kept.shape == base.shape:
        raise SuiteError(
            expected="margins of the same pairs, free, clamped and base, [n_pairs] each",
            came=f"the shapes {list(free.shape)}, {list(kept.shape)} and {list(base.shape)}",
            todo="judge the same pairs each time",
        )
    counts = (free > 0) & (free > base)
    gained, lost = (free - base)[counts], (free - kept)[counts]
    if not len(gained):
        return PathwayContribution(lost, None, None, 0)
    return PathwayContribution(
        lost_share=lost / gained,
        contribution=float(lost.sum() / gained.sum()),
        answers_lost=float((kept[counts] <= 0).double().mean()),
        counted=len(gained),
    )


class _Extremes:
    """The least and greatest values of each unit, as many as two quantiles need; all others are forgotten."""

    def __init__(self, total: int, tail: float) -> None:
        self._place = tail * (total - 1)
        self._kept = ceil(self._place) + 1
        self._low: Tensor | None = None
        self._high: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """Take more values, [n, n_units]."""
        self._low = self._best(self._low, values, largest=False)
        self._high = self._best(self._high, values, largest=True)

    def lowest(self) -> Tensor:
        """Return the `tail` quantile of each unit, [n_units]."""
        return self._between(self._low)

    def highest(self) -> Tensor:
        """Return the `1 - tail` quantile of each unit, [n_units]."""
        return self._between(self._high)

    def _best(self, kept: Tensor | None, values: Tensor, *, largest: bool) -> Tensor:
        joined = values if kept is None else torch.cat([kept, values])
        count = min(self._kept, len(joined))
        return joined.topk(count, dim=0, largest=largest).values

    def _between(self, kept: Tensor | None) -> Tensor:
        assert kept is not None, "no value was added"
        before, after = kept[floor(self._place)], kept[ceil(self._place)]
        return before + (after - before) * (self._place - floor(self._place))


def _layers_above(target: TargetModel, site: Site) -> range:
    target.check(site)
    within = site.stream in ("attention_output", "head_output")
    layers = range(site.layer if within else site.layer + 1, target.n_layers)
    if not layers:
        raise NotApplicableError(
            expected="blocks above the site, for hidden pathways run through their MLPs",
            came=f"{site}, after the last of {target.n_layers} blocks",
            todo="leave hidden pathways out at this site",
        )
    return layers


def _rows(
    target: TargetModel, site: Site, prompts: Sequence[Prompt], label_ids: Sequence[tuple[int, ...]] | None
) -> tuple[list[tuple[int, ...]], list[int]]:
    """Return the tokens of each prompt with its label, and where the site's position is in each."""
    encoder = PromptEncoder(target.tokenizer)
    labels = [()] * len(prompts) if label_ids is None else label_ids
    encoded = encoder.encode([prompt.text for prompt in prompts])
    rows = [tokens.ids + tuple(label[:-1]) for tokens, label in zip(encoded, labels, strict=True)]
    check_row_lengths([len(row) for row in rows], target)
    return rows, [encoder.position(prompt, site.position) for prompt in prompts]


@torch.no_grad()
def _read(target: TargetModel, places: Mapping[int, Place], rows: list[tuple[int, ...]]) -> dict[int, Tensor]:
    """Return the hidden units of each block, [rows, tokens, n_units] in float32 on the CPU."""
    # A causal model never sees padding on its right.
    padded = pad_rows(rows, side="right", device=target.device)
    tokens = torch.arange(padded.ids.shape[1], device=target.device).expand_as(padded.ids)
    with captured(places, dict.fromkeys(places, tokens)) as units:
        target.model(input_ids=padded.ids, use_cache=False)
    return {layer: values.cpu() for layer, values in units.items()}


def _from_starts(lengths: Sequence[int], starts: Sequence[int], width: int) -> Tensor:
    """Return which tokens are real and not before the start, [rows, width]."""
    tokens = torch.arange(width)[None]
    return (tokens >= torch.tensor(starts)[:, None]) & (tokens < torch.tensor(lengths)[:, None])


def _check_record(
    prompts: Sequence[Prompt], label_ids: Sequence[tuple[int, ...]] | None, tail: float
) -> None:
    if not prompts or (label_ids is not None and len(label_ids) != len(prompts)):
        raise SuiteError(
            expected="at least one prompt, and a label for each if there are labels",
            came=f"{len(prompts)} prompts and {'no' if label_ids is None else len(label_ids)} labels",
            todo="give natural prompts of the answers in question",
        )
    if not 0.0 <= tail < 0.5:
        raise SuiteError(expected="a tail of at least 0 and below 0.5", came=str(tail), todo="give 0.001")
