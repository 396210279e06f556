"""How much each feature of any featurizer brings of the target and disturbs of the rest, by gradients. It
knows pairs, an engine and a featurizer with a mask; not what is done with the numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, final

import torch
from pydantic import NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.gradients.rules import GIM, PLAIN, BackwardRules
from das.methods.common.base import Problem
from das.methods.common.contrast import ContrastPair, MaskPerPair, contrast_of, slopes_of
from das.methods.common.tasks import require_cause_pairs
from das.sites import Site
from ravel.common.config import Config
from ravel.common.seeds import sampled
from ravel.instance import Instance
from ravel.terms.schema import TRAIN_SPLIT

Gradient = Literal["plain", "integrated", "gim"]
"""Which slope says what a feature brings."""


class AttributionConfig(Config):
    """How features are attributed."""

    gradient: Gradient = "plain"
    """`plain`: the slope where nothing is swapped; `integrated`: its mean on the way to the full swap; `gim`:
    the slope where nothing is swapped, through the model as in `das.gradients.rules.GIM`."""
    steps: PositiveInt = 8
    """Points on that way, for `integrated`."""
    leak_weight: NonNegativeFloat = 0.3
    """How much disturbing the other attributes counts against bringing the target; 0 ignores them."""
    attribution_pairs: PositiveInt = 512
    """Most training pairs of the target attribute; a larger population is sampled."""
    attribution_pairs_per_other: PositiveInt = 128
    """Most training pairs of each other attribute."""
    attribution_batch: PositiveInt = 128
    """Pairs in one call of the engine; it changes no result beyond rounding."""

    @model_validator(mode="before")
    @classmethod
    def _former_name(cls, values: Any) -> Any:
        """Take `estimator: gradient` and `estimator: integrated`, as files of earlier versions have it."""
        if not isinstance(values, dict) or "estimator" not in values:
            return values
        others = {name: value for name, value in values.items() if name != "estimator"}
        former = "plain" if values["estimator"] == "gradient" else values["estimator"]
        return {"gradient": former, **others}


def feature_attribution(
    problem: Problem,
    engine: Engine,
    featurizer_of: Callable[[Tensor], Featurizer],
    n_features: int,
    *,
    config: AttributionConfig,
    seed: int,
) -> Tensor:
    """Return cause minus `leak_weight` times leak for each feature, [n_features] in float32 on the CPU.

    `featurizer_of` turns a mask [n_features] into the featurizer that swaps by it. With T the logit of the
    source's answer minus that of the base's, a feature's share in a pair is `(f_source - f_base) dT/df`, the
    slope of T in the feature's mask: attribution patching (Nanda 2023; Kramar et al. 2024, arXiv 2403.00745)
    where nothing is swapped yet, or averaged over masks on the way to the full swap (integrated gradients,
    Sundararajan et al. 2017, arXiv 1703.01365), or with the gradients of GIM (arXiv 2505.17630). `cause` is
    its mean over pairs of the target attribute, `leak` the mean of its absolute value over pairs of the
    others: there any change is a disturbance.

    Raises SuiteError if there is no training pair of the target attribute.
    """
    instance, target = problem.instance, problem.attribute
    limit, others = config.attribution_pairs, config.attribution_pairs_per_other
    causes = attribution_pairs(instance, target, limit=limit, seed=seed)
    require_cause_pairs(problem, causes)
    isolates = [
        pair
        for other in instance.attributes
        if other != target
        for pair in attribution_pairs(instance, other, limit=others, seed=seed)
    ]
    device = engine.target.device
    featurizer = featurizer_of(torch.zeros(n_features, device=device))
    cause = torch.zeros(n_features, dtype=torch.float64)
    for batch in pair_attributions(causes, engine, problem.site, featurizer, config=config):
        cause += batch.sum(dim=0) / len(causes)
    leak = torch.zeros(n_features, dtype=torch.float64)
    if config.leak_weight:
        for batch in pair_attributions(isolates, engine, problem.site, featurizer, config=config):
            leak += batch.abs().sum(dim=0) / len(isolates)
    return (cause - config.leak_weight * leak).float()


def attribution_pairs(instance: Instance, attribute: str, *, limit: int, seed: int) -> list[ContrastPair]:
    """Return at most `limit` training pairs whose base asks for `attribute`, in the instance's order. A
    larger population is sampled without replacement. Pairs of which one answer only continues the other are
    passed over: no token tells them apart."""
    asking = [pair for pair in instance.pairs(TRAIN_SPLIT) if pair.attribute == attribute]
    told = [made for pair in asking if (made := contrast_of(instance, pair)) is not None]
    return sampled(told, limit, seed, "attribution", TRAIN_SPLIT, attribute)


def pair_attributions(
    pairs: Sequence[ContrastPair],
    engine: Engine,
    site: Site,
    featurizer: Featurizer,
    *,
    config: AttributionConfig,
) -> list[Tensor]:
    """Return each feature's share in each pair: per batch [n_pairs, n_features], float64, on the CPU. Rows of
    a batch stand in the order in which the engine ran them. With `integrated`, a row's sum over features
    tends to the change of `answer_difference` from no swap to the full one as `steps` grows."""
    return [
        _batch_attributions(pairs[start : start + config.attribution_batch], engine, site, featurizer, config)
        for start in range(0, len(pairs), config.attribution_batch)
    ]


def _batch_attributions(
    pairs: Sequence[ContrastPair],
    engine: Engine,
    site: Site,
    featurizer: Featurizer,
    config: AttributionConfig,
) -> Tensor:
    shares, rules = [0.0], GIM if config.gradient == "gim" else PLAIN
    if config.gradient == "integrated":
        shares = [(step + 0.5) / config.steps for step in range(config.steps)]
    # Rows can be averaged over the shares, for an engine groups equal pairs alike each time.
    return torch.stack(
        [_slopes(pairs, engine, site, _PairMasks(featurizer, share), rules) for share in shares]
    ).mean(dim=0)


def _slopes(
    pairs: Sequence[ContrastPair], engine: Engine, site: Site, masks: _PairMasks, rules: BackwardRules
) -> Tensor:
    """Return the derivative of each pair's difference in its own mask."""
    slopes = slopes_of(pairs, engine, site, masks, rules)
    used = [slope for slope in slopes if slope is not None]
    return torch.cat([slope.reshape(-1, slope.shape[-1]) for slope in used]).double().cpu()


@final
class _PairMasks(MaskPerPair):
    """Another featurizer with a mask of its own for each pair, all entries equal, kept for their gradients.
    It lives as long as one call of an engine and is never saved."""

    kind = "pair_masks"

    def __init__(self, inner: Featurizer, share: float) -> None:
        super().__init__()
        self.inner = inner
        self.keeps_error = inner.keeps_error
        self._share = share
        self._shape: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        return self.inner.width

    @property
    def size(self) -> int:
        return self.inner.size

    def encode(self, vectors: Tensor) -> Tensor:
        features = self.inner.encode(vectors)
        self._shape = tuple(features.shape)
        return features

    def decode(self, features: Tensor) -> Tensor:
        return self.inner.decode(features)

    def mask(self) -> Tensor:
        """Return a new leaf of the shape of the features encoded last: those of one interchange's pairs."""
        device = self.inner.mask().device
        leaf = torch.full(self._shape, self._share, device=device, requires_grad=True)
        self.leaves.append(leaf)
        return leaf
