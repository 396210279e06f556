"""MDAS with a counterfactual latent loss: what comes of a swap is kept near natural states like it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor
from torch.nn import functional

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.methods.common.base import NotApplicableError, Problem, Workspace
from das.methods.common.labelled import training_prompts
from das.methods.common.tasks import MixedPairsConfig, mixed_task
from das.methods.trained._subspace import TrainedSubspace
from das.training.config import TrainingTask
from das.training.trainable import Trainable, TrainableSubspace
from ravel.common.seeds import derive_seed, sampled
from ravel.instance import entity_values
from ravel.terms.schema import TRAIN_SPLIT, InterchangePair


class CounterfactualLatentConfig(MixedPairsConfig):
    """Settings of counterfactual_latent."""

    latent_weight: NonNegativeFloat = 0.1
    """What the distance to natural states counts beside the cross entropy (reference: 0 to 64, in the units
    of its model); 0 is MDAS."""
    latent_pairs: PositiveInt = 256
    """Most cause pairs whose swapped states are looked at, the same at every step."""


class CounterfactualLatent(TrainedSubspace[CounterfactualLatentConfig]):
    """MDAS (Huang et al. 2024, arXiv 2402.17700) with the counterfactual latent loss of Grant et al. 2025
    (arXiv 2511.04638): `weight * (|h - n|^2 / 2 - cos(h, n) / 2)` is added.

    h is a swapped state and n the mean of natural states that have its wanted values: the target's from the
    source, the others' from the base. Departures: where no training entity has them all, n is over those
    with the target's wanted value that share most of the others; entities count once, over all their
    training prompts; both are taken from the mean state, in units of the root mean square distance to it;
    the loss is over one fixed sample of the cause pairs and not over those of a step.
    """

    name = "counterfactual_latent"
    summary = "MDAS that keeps swapped states near natural ones with the wanted values"
    config_class = CounterfactualLatentConfig

    def task(self, problem: Problem, engine: Engine) -> TrainingTask:
        """Return cause and isolate pairs. Raises SuiteError if there are none of either."""
        return mixed_task(self, problem, engine)

    def trainable(self, start: Tensor, problem: Problem, engine: Engine, workspace: Workspace) -> Trainable:
        """Return columns with the added loss. Raises NotApplicableError if all vectors are the same."""
        if self.config.latent_weight == 0:
            return TrainableSubspace(start)
        states = swap_targets(problem, engine, limit=self.config.latent_pairs)
        return _NearNatural(start, states, self.config.latent_weight)


@dataclass(frozen=True, slots=True)
class SwapTargets:
    """Cause pairs as vectors, each with the natural state that its swap should come near."""

    base: Tensor
    """Vectors of the bases, [n, d_model] in float32."""
    source: Tensor
    """Vectors of the sources, [n, d_model]."""
    wanted: Tensor
    """Mean natural states with the wanted values, [n, d_model]."""
    mean: Tensor
    """Mean of all natural states, [d_model]."""
    scale: float
    """Root mean square distance of natural states to it."""

    def distance(self, featurizer: Featurizer) -> Tensor:
        """Return `|h - n|^2 / 2 - cos(h, n) / 2`, the mean over pairs, a scalar; carries the gradient."""
        device = next(featurizer.buffers()).device
        mean = self.mean.to(device)
        swapped = featurizer.interchange(self.base.to(device), self.source.to(device))
        swapped, wanted = (swapped - mean) / self.scale, (self.wanted.to(device) - mean) / self.scale
        squared = (swapped - wanted).square().sum(dim=1)
        return 0.5 * (squared - functional.cosine_similarity(swapped, wanted, dim=1)).mean()


def swap_targets(problem: Problem, engine: Engine, *, limit: int) -> SwapTargets:
    """Return at most `limit` training pairs that ask for the target, with natural states of what each swap
    wants. Raises NotApplicableError if all vectors are the same."""
    instance, site = problem.instance, problem.site
    asking = [pair for pair in instance.pairs(TRAIN_SPLIT) if pair.attribute == problem.attribute]
    seed = derive_seed(problem.seed, "natural states", problem.attribute, str(site))
    pairs = sampled(asking, limit, seed)
    entities, means = _entity_means(problem, engine)
    mean = means.mean(dim=0)
    scale = float((means - mean).square().sum(dim=1).mean().sqrt())
    if scale == 0:
        raise NotApplicableError(
            expected=f"vectors at {site} that differ between entities",
            came=f"{len(entities)} equal ones",
            todo="choose another site",
        )
    values = {name: entity_values(instance, name, (TRAIN_SPLIT,)) for name in instance.attributes}
    wanted = [means[_like(pair, problem.attribute, entities, values)].mean(dim=0) for pair in pairs]
    prompts = [instance.prompt(key).prompt for key in (p for pair in pairs for p in (pair.base, pair.source))]
    vectors = engine.collect(prompts, [site])[site].cpu()
    return SwapTargets(vectors[::2], vectors[1::2], torch.stack(wanted).float(), mean.float(), scale)


def _entity_means(problem: Problem, engine: Engine) -> tuple[list[str], Tensor]:
    """Return the training entities, sorted, and the mean of each one's vectors, [n, d_model] in float64."""
    records = training_prompts(problem.instance)
    vectors = engine.collect([r.prompt for r in records], [problem.site])[problem.site].cpu().double()
    entities = sorted({record.prompt.entity for record in records})
    places = torch.tensor([entities.index(record.prompt.entity) for record in records])
    counts = torch.bincount(places, minlength=len(entities))[:, None]
    sums = vectors.new_zeros(len(entities), vectors.shape[1]).index_add(0, places, vectors)
    return entities, sums / counts


def _like(
    pair: InterchangePair, target: str, entities: Sequence[str], values: Mapping[str, Mapping[str, str]]
) -> list[int]:
    """Return which entities have the source's value of the target and most of the base's other values; the
    source itself has the first, so that there is always one."""
    wanted = values[target].get(pair.source_entity)
    agreeing: dict[int, int] = {}
    for place, entity in enumerate(entities):
        if entity == pair.source_entity or (wanted is not None and values[target].get(entity) == wanted):
            agreeing[place] = sum(
                entity in said and said[entity] == said.get(pair.base_entity)
                for name, said in values.items()
                if name != target
            )
    most = max(agreeing.values())
    return [place for place, count in agreeing.items() if count == most]


class _NearNatural(TrainableSubspace):
    """A subspace under training whose swaps are kept near natural states."""

    def __init__(self, start: Tensor, states: SwapTargets, weight: float) -> None:
        super().__init__(start)
        self._states, self._latent_weight = states, weight

    def penalty(self) -> Tensor:
        """Return the weighted distance to natural states, a scalar."""
        return self._latent_weight * self._states.distance(self.current())


METHOD = CounterfactualLatent
