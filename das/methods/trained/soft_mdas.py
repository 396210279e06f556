"""Soft MDAS: MDAS towards what the model itself would say, in place of one answer."""

from __future__ import annotations

from dataclasses import replace

from pydantic import PositiveInt

from das.engine.base.protocol import Engine
from das.engine.base.soft_labels import Divergence
from das.methods.common.base import Problem
from das.methods.common.tasks import MixedPairsConfig, mixed_task
from das.methods.trained._subspace import TrainedSubspace
from das.training.config import TrainingTask
from das.training.soft_targets import with_soft_labels


class SoftMdasConfig(MixedPairsConfig):
    """Settings of soft_mdas."""

    divergence: Divergence = "cross_entropy"
    """Distance to the wanted distribution: `cross_entropy`, or `jensen_shannon` as in CDAS."""
    named_tokens: PositiveInt = 64
    """Tokens of a wanted distribution that are kept by name, the likeliest; all others count as one."""


class SoftMdas(TrainedSubspace[SoftMdasConfig]):
    """MDAS (Huang et al. 2024, arXiv 2402.17700) whose targets are distributions of the model's own.

    A cause pair wants what the model says to the base's template about the source's entity, an isolate pair
    what it says to the base itself, at every place of the label; where those distributions are one-hot it is
    MDAS. The Jensen-Shannon divergence to an unswapped run is that of concept distributed alignment search
    (CDAS), whose author reports it as a method of steering, not of localisation; taking the run of the
    swapped entity as the target, which always exists here, is ours. Departures: a distribution keeps its
    likeliest tokens by name and all others as one; epochs are chosen by labels, as for all.
    """

    name = "soft_mdas"
    summary = "MDAS towards the distributions that the model itself gives, not towards one answer"
    config_class = SoftMdasConfig

    def task(self, problem: Problem, engine: Engine) -> TrainingTask:
        """Return cause and isolate pairs with what the model says. Raises SuiteError if there are none of
        either, and for a site that the model lacks."""
        task, config = mixed_task(self, problem, engine), self.config
        pairs = with_soft_labels(
            task.training,
            problem.instance,
            engine,
            problem.site,
            most=config.named_tokens,
            divergence=config.divergence,
        )
        return replace(task, training=pairs)


METHOD = SoftMdas
