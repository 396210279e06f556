"""LoReFT away from each value: a learned low-rank edit that is trained turned round, as erasure takes it."""

from __future__ import annotations

import torch
from pydantic import PositiveInt

from das.edits.forms import LowRank
from das.engine.base.protocol import Engine
from das.methods.common.alignment import fit_seed
from das.methods.common.base import Problem, Workspace
from das.methods.common.concepts import AboutConcepts
from das.methods.common.edit_objectives import loss_by
from das.methods.common.edit_training import train_edit
from das.methods.steering._low_rank import fresh_low_rank
from das.methods.steering._suppression import SuppressionConfig, suppression_lessons


class LoreftSuppressConfig(SuppressionConfig):
    """Settings of loreft_suppress."""

    rank: PositiveInt = 4
    """Rows of R for each value."""


class LoreftSuppress(AboutConcepts[LoreftSuppressConfig]):
    """The form of `loreft` at the factor -1, by which RePS (Wu et al. 2025, arXiv 2505.20809) suppresses:
    entities that have the value prefer another's answer to it, entities without it and prompts of other
    attributes keep the model's own, by its cross entropy. Strength 1 of the track erasure is that factor.

    Departures: the reference trains on ordinary prompts, beside steering; all else as of `loreft`.
    """

    name = "loreft_suppress"
    summary = "Learned low-rank edit for each value that, turned round, takes it away and leaves all else"
    config_class = LoreftSuppressConfig
    finds = "edit"
    needs_pairs = True
    draws = True

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> LowRank:
        """Return a `LowRank`. Raises what `concepts` raises."""
        told = self.concepts(problem, workspace).values
        seed = fit_seed(self, problem)
        lessons = suppression_lessons(problem, told, self.config, seed)
        moving = fresh_low_rank(problem, told, engine, self.config.rank, "loreft", seed)
        objective = self.config.suppression()
        loss_of = loss_by(objective, moving, lessons, engine=engine, site=problem.site, seed=seed)
        train_edit(moving, lessons, loss_of, self.config, seed=seed, workspace=workspace)
        with torch.no_grad():
            return moving.edit().cpu()


METHOD = LoreftSuppress
