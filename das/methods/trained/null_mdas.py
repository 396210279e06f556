"""Null-space MDAS: a subspace trained where the other attributes' class means do not reach."""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from das.engine.base.protocol import Engine
from das.methods.closed_form.mean_difference import mean_directions
from das.methods.common.alignment import shared_key
from das.methods.common.base import NotApplicableError, Problem, Workspace
from das.methods.common.labelled import labelled_vectors
from das.methods.common.tasks import MixedPairsConfig, cause_task, mixed_task
from das.methods.trained._subspace import TrainedSubspace
from das.threads import one_thread
from das.training.config import TrainingTask
from das.training.trainable import Trainable, TrainableSubspace

_ROUNDING = 1e-4
"""Singular values below this are what float32 leaves of directions that several attributes share."""


class NullMdasConfig(MixedPairsConfig):
    """Settings of null_mdas."""

    isolate: bool = False
    """Train on the isolate pairs of every other attribute too, as MDAS does; without, those settings of MDAS
    that concern them do nothing."""
    spread: float = Field(default=0.95, gt=0.0, le=1.0)
    """Share of the squared spread of each other attribute's class means that its directions hold, the leading
    ones first. With 1 no linear reader of the means is left anything, but by chance the least of them point
    along the target too, which is then lost."""
    vectors: PositiveInt = 20000
    """Most training vectors whose class means are taken; a larger population is sampled, always the same."""


class NullMdas(TrainedSubspace[NullMdasConfig]):
    """DAS (Geiger et al. 2024, arXiv 2303.02536) inside the orthogonal complement of the other attributes.

    With U the leading directions of every other attribute's centred class means, columns R are trained with
    U^T R = 0, so that the interchange moves no vector along U and no linear reader in U sees it: a leak of
    exactly nothing there takes the place of MDAS's isolate pairs, as in AlphaEdit (Fang et al. 2024, arXiv
    2410.02355) the null space of what is to be kept does for edits of weights; interchanges by it are ours.
    What the target's values fix, or are fixed by, can't be had so: means of countries span those of
    continents. Attributes without classes bound nothing; the log says how many did.
    """

    name = "null_mdas"
    summary = "Subspace trained where the class means of all other attributes do not reach"
    config_class = NullMdasConfig
    needs_labels = True

    def task(self, problem: Problem, engine: Engine) -> TrainingTask:
        """Return the target's cause pairs, with `isolate` those of the others too. Raises SuiteError if
        there are none."""
        return (mixed_task if self.config.isolate else cause_task)(self, problem, engine)

    def trainable(self, start: Tensor, problem: Problem, engine: Engine, workspace: Workspace) -> Trainable:
        """Return columns in the complement. Raises NotApplicableError if no other attribute has classes, or
        the complement has no room for the size."""
        config = self.config
        key = shared_key(
            "null_space",
            problem,
            engine,
            attribute=problem.attribute,
            spread=config.spread,
            vectors=config.vectors,
        )
        found = workspace.shared(key, lambda: self._null_space(problem, engine))
        within, bounding = found["within"], int(found["bounding"])
        workspace.log({"phase": "null space", "free": within.shape[1], "bounding": bounding})
        if within.shape[1] < problem.size:
            raise NotApplicableError(
                expected=f"{problem.size} directions outside the class means of the other attributes",
                came=f"{within.shape[1]} of {within.shape[0]} that the {bounding} attributes leave",
                todo="choose a smaller size, or a lower spread of null_mdas",
            )
        return TrainableSubspace(start, within)

    def _null_space(self, problem: Problem, engine: Engine) -> dict[str, Tensor]:
        spans: list[Tensor] = []
        refusal = _nothing_else(problem)
        for other in problem.instance.attributes:
            if other == problem.attribute:
                continue
            try:
                labelled = labelled_vectors(
                    replace(problem, attribute=other), engine, limit=self.config.vectors
                )
                found = mean_directions(labelled)
            except NotApplicableError as error:
                refusal = error
                continue
            spans.append(_leading(found["basis"], found["singular"], self.config.spread))
        if not spans:
            raise refusal
        return {"within": null_space(torch.cat(spans, dim=1)), "bounding": torch.tensor(len(spans))}


def _nothing_else(problem: Problem) -> NotApplicableError:
    return NotApplicableError(
        expected=f"attributes other than {problem.attribute!r} whose class means are to be left alone",
        came="an instance with none",
        todo="use das, or build the instance with more attributes",
    )


def _leading(basis: Tensor, singular: Tensor, spread: float) -> Tensor:
    """Return the fewest leading columns that hold the share `spread` of the squared singular values."""
    held = singular.double().square().cumsum(0)
    # All columns for a share of 1, whatever the sums round to.
    count = len(held) if spread == 1.0 else int((held < spread * held[-1]).sum()) + 1
    return basis[:, :count]


def null_space(columns: Tensor) -> Tensor:
    """Return orthonormal columns [d, n] of all that is orthogonal to `columns` [d, k], in float32; n may be
    0. Columns of length one count; directions in which they differ by rounding only do not."""
    with one_thread():
        axes, singular, _ = torch.linalg.svd(columns.double(), full_matrices=True)
    rest: Tensor = axes[:, int((singular > _ROUNDING).sum()) :]
    return rest.float().contiguous()


METHOD = NullMdas
