"""What trains a low-rank edit for each value; which form, and by which objective, is not known here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from typing_extensions import TypeVar

from das.edits.forms import LowRank
from das.edits.low_rank import LOW_RANK_FORMS, Form
from das.engine.base.protocol import Engine
from das.featurizers.orthonormal import retract
from das.methods.common.alignment import fit_seed
from das.methods.common.base import Problem, Workspace
from das.methods.common.concepts import AboutConcepts, concept_vectors
from das.methods.common.edit_objectives import (
    BIPO_BETA,
    FACTORS,
    Bipo,
    Factor,
    Language,
    Lengths,
    Objective,
    Reps,
    loss_by,
)
from das.methods.common.edit_training import EditTrainingConfig, MovingEdit, steering_lessons, train_edit
from das.methods.detection._trained_vectors import deviation_of


class LowRankConfig(EditTrainingConfig):
    """Settings of a low-rank edit."""

    written_if_set: ClassVar[tuple[str, ...]] = ("objective", "factors", "lengths", "beta")
    """As in `Config`."""
    rank: PositiveInt = 4
    """Rows of R for each value."""
    learning_rate: PositiveFloat = 1e-2
    """Rate of AdamW at its beginning; it falls in a line to 0 (reference: 9e-4, on models of billions)."""
    objective: Literal["language", "reps", "bipo"] = "language"
    """`language`: the cross entropy of the answers that are to be given; `reps`: RePS, which prefers them
    under the edit, and their counterparts under the edit turned round; `bipo`: BiPO, which compares with the
    model that is left alone, at strengths 1 and -1."""
    factors: tuple[Factor, ...] = Field(FACTORS, min_length=1)
    """Strengths of which `reps` draws one at each step, all alike."""
    lengths: Lengths = "response"
    """What `reps` divides the log-probability of an answer by: the number of its tokens, or that with the
    prompt's, as the reference code has it (`prompt_and_response`)."""
    beta: PositiveFloat = BIPO_BETA
    """Factor of the margins of `bipo`."""

    def objective_itself(self) -> Objective:
        """Return the objective with its settings."""
        if self.objective == "reps":
            return Reps(self.factors, self.lengths)
        return Bipo(self.beta) if self.objective == "bipo" else Language()


LowRankSettings = TypeVar("LowRankSettings", bound=LowRankConfig, covariant=True)


class TrainsLowRank(AboutConcepts[LowRankSettings]):
    """A method that trains a low-rank edit of one form, an R and what else the form has for each value."""

    finds = "edit"
    needs_pairs = True
    draws = True
    config_class = LowRankConfig

    def form(self) -> Form:
        """Return the form."""
        return "loreft"

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> LowRank:
        """Return a `LowRank`. Raises what `concepts` raises."""
        config = self.config
        told = self.concepts(problem, workspace).values
        seed = fit_seed(self, problem)
        lessons = steering_lessons(problem, told, config, seed)
        moving = fresh_low_rank(problem, told, engine, config.rank, self.form(), seed)
        objective = config.objective_itself()
        loss_of = loss_by(objective, moving, lessons, engine=engine, site=problem.site, seed=seed)
        train_edit(moving, lessons, loss_of, config, seed=seed, workspace=workspace)
        with torch.no_grad():
            return moving.edit().cpu()


def fresh_low_rank(
    problem: Problem, told: Sequence[str], engine: Engine, rank: int, form: Form, seed: int
) -> MovingLowRank:
    """Return a random edit of a form for each value, to be trained on the engine's device."""
    stream = torch.Generator().manual_seed(seed)
    start = torch.randn(len(told), engine.target.width(problem.site), rank, generator=stream)
    rotation = torch.stack([retract(columns) for columns in start]).to(engine.target.device)
    # What reads nothing has its offset alone to go by, whose few numbers must reach a vector's whole length.
    unit = 1.0
    if not LOW_RANK_FORMS[form].reads:
        known = concept_vectors(problem.instance, problem.attribute, problem.site, engine)
        unit = deviation_of(known.vectors) * (known.vectors.shape[1] / rank) ** 0.5
    return MovingLowRank(problem.attribute, told, rotation, form, unit)


class MovingLowRank(MovingEdit):
    """R of every value under training, with W and b where the form has them."""

    def __init__(
        self, attribute: str, values: Sequence[str], rotation: Tensor, form: Form, unit: float = 1.0
    ) -> None:
        """Begin with orthonormal columns of R^T, [n_values, d_model, rank]: where the form allows it, at the
        identity. Offsets count in `unit`."""
        super().__init__(attribute, values)
        self.form: Form = form
        """The form."""
        parts = LOW_RANK_FORMS[form]
        self.rotation = nn.Parameter(rotation.contiguous())
        """Columns of R^T, [n_values, d_model, rank]."""
        source = rotation.detach().mT.contiguous()
        self.source: nn.Parameter | None = None
        """W, [n_values, rank, d_model]."""
        if parts.reads:
            self.source = nn.Parameter(source if parts.subtracts else torch.zeros_like(source))
        self.offset = nn.Parameter(rotation.new_zeros(rotation.shape[0], rotation.shape[2]))
        """b, [n_values, rank], in units."""
        self.unit = unit
        """What a number of b is worth."""

    def edit(self) -> LowRank:
        """Return the edit of this moment."""
        rows = self.rotation.mT.flatten(0, 1)
        source = None if self.source is None else self.source.flatten(0, 1)
        offset = self.offset.flatten() * self.unit
        return LowRank(self.attribute, self.values, rows, source, offset, form=self.form)

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """Step, and make the rows of R orthonormal again where they are to be."""
        optimiser.step()
        if LOW_RANK_FORMS[self.form].orthonormal:
            with torch.no_grad():
                for columns in self.rotation:
                    columns.copy_(retract(columns))
