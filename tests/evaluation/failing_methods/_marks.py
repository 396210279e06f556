"""Counts attempts over processes, by files: one is added with each attempt."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import torch

from das.engine.base.protocol import Engine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.methods.common.base import Method, MethodConfig, Problem
from das.training.workspace import Workspace


class Settings(MethodConfig):
    """What every failing method is told."""

    marks: str
    """A folder."""
    fails: int = 1
    """How many attempts fail."""


class Failing(Method):
    """Fails for the first attempts at a cell, then swaps the whole vector."""

    config_class: ClassVar[type[MethodConfig]] = Settings
    needs_attribute: ClassVar[bool] = True
    needs_size: ClassVar[bool] = False

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Count the attempt, and fail or not."""
        assert isinstance(self.config, Settings)
        folder = Path(self.config.marks) / f"{self.name}-{problem.attribute}-{problem.site}-{problem.seed}"
        folder.mkdir(parents=True, exist_ok=True)
        before = len(list(folder.iterdir()))
        (folder / f"{os.getpid()}-{uuid4()}").touch()
        if before < self.config.fails:
            self.fail()
        return MaskedBasis(torch.ones(engine.target.width(problem.site)), None)

    def fail(self) -> None:
        """Do what the method is for."""
        raise NotImplementedError
