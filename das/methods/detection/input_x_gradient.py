"""Input times gradient: how much of a value's answer the vector is credited with, where it stands."""

from __future__ import annotations

import torch

from das.detectors.attribution import Attribution, Rules
from das.engine.base.protocol import Engine
from das.methods.common.base import MethodConfig, Problem, Workspace
from das.methods.detection._directions import FindsDetector
from das.methods.detection.prompt import first_tokens


class InputXGradientConfig(MethodConfig):
    """Settings of input_x_gradient."""

    absolute: bool = False
    """Add up absolute values, as AxBench does; a detector without a sign."""
    rules: Rules = "plain"
    """`plain`: the model's own gradient; `gim`: through the model as in `das.gradients.rules.GIM`."""


class InputXGradient(FindsDetector[InputXGradientConfig]):
    """The vector times the gradient of the value's answer (IxG of AxBench, Wu et al. 2025, arXiv 2501.17148).

    Departures: the classifier is the model itself, which is asked, where the reference trains a small network
    on its last layer; shares keep their sign, where the reference adds up absolute values (`absolute`), and
    its areas under the curve are below a half.
    """

    name = "input_x_gradient"
    summary = "Tells a value by the vector times the gradient of the model's answer in it"
    config_class = InputXGradientConfig

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Attribution:
        """Return an `Attribution`. Raises what `concepts` raises."""
        told = self.concepts(problem, workspace).values
        return Attribution(
            problem.attribute,
            told,
            first_tokens(problem, told),
            torch.zeros(engine.target.width(problem.site)),
            absolute=self.config.absolute,
            rules=self.config.rules,
        )


METHOD = InputXGradient
