"""How much of a value's answer a vector is credited with, by gradients: the model's own answer is the
classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

import torch
from torch import Tensor

from das.detectors.base import Detector
from das.engine.base.protocol import Engine, FeaturizedPairs, ForcedPair
from das.gradients.context import backward_rules
from das.gradients.rules import GIM, PLAIN
from das.sites import Site
from ravel.common.errors import SuiteError
from ravel.terms.schema import Prompt

Rules = Literal["plain", "gim"]
"""Which way back gradients take: the model's own, or that of `das.gradients.rules.GIM`."""
_AT_ONCE = 64
"""Prompts in one call of an engine; it changes no result beyond rounding."""


@final
class Attribution(Detector):
    """Scores `sum_d (h - h0)_d dF/dh_d`, F the logit of the value's first token after the prompt less the
    mean of those of the other values; of a single value its log-probability, in nats.

    With `steps` 0 the slope is that at h, and h0 is 0: input x gradient. With more it is the mean over as
    many midpoints of the way from the baseline h0 to h: integrated gradients (Sundararajan et al. 2017, arXiv
    1703.01365), whose sum tends to F(h) - F(h0) as they grow. `absolute`: absolute values are added up, as in
    AxBench (Wu et al. 2025, arXiv 2501.17148). The prompt must ask for the attribute.
    """

    kind = "attribution"

    ids: Tensor
    """The first token of each value, [n_values], as float32 like all that is saved."""
    baseline: Tensor
    """h0, [d_model]."""

    def __init__(
        self,
        attribute: str,
        values: Sequence[str],
        ids: Tensor,
        baseline: Tensor,
        *,
        steps: int = 0,
        absolute: bool = False,
        rules: Rules = "plain",
    ) -> None:
        """Keep ids and baseline. Raises SuiteError unless there is an id for each value, and a vector."""
        super().__init__(attribute, values)
        if tuple(ids.shape) != (len(self.values),) or baseline.ndim != 1 or steps < 0:
            raise SuiteError(
                expected=f"{len(self.values)} token ids, one vector, and 0 steps or more",
                came=f"the shapes {list(ids.shape)} and {list(baseline.shape)}, and {steps}",
                todo="give the first token of each value and one baseline",
            )
        self.register_buffer("ids", ids.float().contiguous())
        self.register_buffer("baseline", baseline.float().contiguous())
        self.steps = steps
        """Points on the way from the baseline; 0: the vector itself."""
        self.absolute = absolute
        """Whether absolute values are added up."""
        self.rules: Rules = rules
        """Which way back gradients take."""

    @property
    def width(self) -> int:
        """Length d_model of the vectors."""
        return int(self.baseline.numel())

    def scores(self, prompts: Sequence[Prompt], engine: Engine, site: Site) -> Tensor:
        """Return the scores, [n_prompts, n_values]."""
        parts = [torch.zeros(0, len(self.values))]
        for start in range(0, len(prompts), _AT_ONCE):
            parts.append(self._scores(prompts[start : start + _AT_ONCE], engine, site))
        return torch.cat(parts)

    def _scores(self, prompts: Sequence[Prompt], engine: Engine, site: Site) -> Tensor:
        shares = [(step + 0.5) / self.steps for step in range(self.steps)] or [1.0]
        found = [self._slopes(prompts, engine, site, share) for share in shares]
        slopes = torch.stack([slope for _, slope in found]).mean(dim=0)
        moved = found[0][0] - self.baseline.double()
        by_coordinate = moved[:, None] * (slopes - _mean_of_others(slopes))
        return (by_coordinate.abs() if self.absolute else by_coordinate).sum(dim=-1).float()

    def _slopes(
        self, prompts: Sequence[Prompt], engine: Engine, site: Site, share: float
    ) -> tuple[Tensor, Tensor]:
        """Return the prompts' vectors, [n_prompts, d_model], and the gradient of each value's
        log-probability there or at that share of the way from the baseline, [n_prompts, n_values, d_model];
        both float64 on the CPU."""
        probes = [_Probe(self.baseline.to(engine.target.device), share) for _ in prompts]
        labels = [(int(token),) for token in self.ids.tolist()]
        groups = [
            FeaturizedPairs([ForcedPair(prompt, prompt, label) for label in labels], probe)
            for prompt, probe in zip(prompts, probes, strict=True)
        ]
        rules = GIM if self.rules == "gim" else PLAIN
        # Where memory is short a pass runs once more on the way back, and must follow the rules there too.
        with torch.inference_mode(False), torch.enable_grad(), backward_rules(engine.target, rules):
            costs = torch.cat([label.cross_entropy for label in engine.forced_labels(groups, site)])
            leaves = [leaf for probe in probes for leaf in probe.leaves]
            # A row's cost depends on its own leaf only, so the sum's gradient is each row's own.
            gradients = dict(
                zip(leaves, torch.autograd.grad(-costs.sum(), leaves, allow_unused=True), strict=True)
            )
        slopes = [probe.used(gradients)[: len(labels)] for probe in probes]
        vectors = [probe.seen[0] for probe in probes]
        return torch.stack(vectors).double().cpu(), torch.stack(slopes).double().cpu()

    def settings(self) -> dict[str, Any]:
        """Return attribute, values, steps, whether absolute values are added, and the rules."""
        own = {"steps": self.steps, "absolute": self.absolute, "rules": self.rules}
        return {**super().settings(), **own}


def _mean_of_others(slopes: Tensor) -> Tensor:
    """Return for each value the mean of the others' slopes [..., n_values, d]; 0 for a single one."""
    n_values = slopes.shape[-2]
    return (slopes.sum(dim=-2, keepdim=True) - slopes) / max(n_values - 1, 1)


class _Probe:
    """What an engine puts between for one prompt: leaves at a share of the way from the baseline."""

    def __init__(self, baseline: Tensor, share: float) -> None:
        self._baseline = baseline
        self._share = share
        self.leaves: list[Tensor] = []
        """A leaf for each time that it was asked, [rows, d_model]."""
        self.seen = baseline[None]
        """The vectors it was asked about last, in float32."""

    @property
    def width(self) -> int:
        return int(self._baseline.numel())

    def interchange(self, base: Tensor, source: Tensor) -> Tensor:
        self.seen = base.detach().float()
        there = self.seen if self._share == 1 else torch.lerp(self._baseline, self.seen, self._share)
        leaf = there.clone().requires_grad_()
        self.leaves.append(leaf)
        return leaf.to(base.dtype)

    def used(self, gradients: Mapping[Tensor, Tensor | None]) -> Tensor:
        """Return the gradient of the leaf that something came of: a pass that ran out of memory and was done
        again leaves others."""
        found = [slope for leaf in self.leaves if (slope := gradients[leaf]) is not None]
        (slope,) = found
        return slope
