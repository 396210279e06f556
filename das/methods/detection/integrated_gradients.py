"""Integrated gradients: how much of a value's answer a vector is credited with, on the way from the mean."""

from __future__ import annotations

from pydantic import PositiveInt

from das.detectors.attribution import Attribution
from das.engine.base.protocol import Engine
from das.methods.common.base import Problem, Workspace
from das.methods.common.concepts import concept_vectors
from das.methods.detection._directions import ConceptConfig, FindsDetector
from das.methods.detection.prompt import first_tokens


class IntegratedGradientsConfig(ConceptConfig):
    """Settings of integrated_gradients."""

    steps: PositiveInt = 8
    """Points on the way (reference: 50, or 5 on a model of nine billion weights)."""
    absolute: bool = False
    """Add up absolute values, as AxBench does; a detector without a sign."""


class IntegratedGradients(FindsDetector[IntegratedGradientsConfig]):
    """Integrated gradients of the value's answer (Sundararajan et al. 2017, arXiv 1703.01365; IG of AxBench,
    Wu et al. 2025, arXiv 2501.17148), at the midpoints of the way.

    Departures: classifier and signs as in `input_x_gradient`; the baseline is the mean of the training
    vectors at the site, where the reference takes a mean of embeddings of random tokens.
    """

    name = "integrated_gradients"
    summary = "Tells a value by gradients of the model's answer on the way from the mean to the vector"
    config_class = IntegratedGradientsConfig

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Attribution:
        """Return an `Attribution`. Raises what `concepts` raises."""
        told = self.concepts(problem, workspace).values
        known = concept_vectors(
            problem.instance, problem.attribute, problem.site, engine, self.config.vectors
        )
        return Attribution(
            problem.attribute,
            told,
            first_tokens(problem, told),
            known.vectors.double().mean(dim=0),
            steps=self.config.steps,
            absolute=self.config.absolute,
        )


METHOD = IntegratedGradients
