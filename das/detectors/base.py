"""What tells values: a score per prompt for each of some values of one attribute. It knows no truth and no
threshold; which prompts are asked is the caller's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from das.engine.base.protocol import Engine
from das.finding import OfValues
from das.sites import Site
from ravel.terms.schema import Prompt


class Detector(OfValues, ABC):
    """Scores of prompts, the higher the likelier the entity has the value; scores of two values, or under two
    templates, need not be on one scale."""

    @abstractmethod
    def scores(self, prompts: Sequence[Prompt], engine: Engine, site: Site) -> Tensor:
        """Return a score per prompt and value, [n_prompts, n_values] in float32 on the CPU."""


class VectorDetector(Detector):
    """A detector that sees nothing but the vectors at the site."""

    @abstractmethod
    def of_vectors(self, vectors: Tensor) -> Tensor:
        """Return the scores of vectors: [n, d_model] to [n, n_values]."""

    def scores(self, prompts: Sequence[Prompt], engine: Engine, site: Site) -> Tensor:
        """Return the scores of the prompts' vectors at the site, [n_prompts, n_values]."""
        with torch.inference_mode():
            return self.of_vectors(engine.collect(prompts, [site])[site].cpu()).clone()
