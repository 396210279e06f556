"""`ravel knowledge`: what tells a model's right answers from its wrong ones."""

from __future__ import annotations

from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import Data, NamedModel, TargetFlags, command
from evaluation.commands.flags.shared import Seed
from evaluation.commands.printing import Result, as_number, keeping, print_rows, shown_progress
from ravel.facts.sources import BUNDLED

_SIGNS = ("sharpness", "log_probability", "margin", "together")


@command
def knowledge(
    *,
    model: NamedModel,
    entity_type: Annotated[str, typer.Option("--entity-type", help="As in `ravel data list`.")],
    data: Data = BUNDLED,
    entities: Annotated[
        int, typer.Option("--entities", min=1, help="Entities of each partition at most.")
    ] = 200,
    layer: Annotated[
        list[int] | None,
        typer.Option("--layer", help="Choose among these on validation entities; repeatable."),
    ] = None,
    final_norm: Annotated[
        bool, typer.Option("--final-norm", help="Norm states as the model does before its last layer.")
    ] = False,
    seed: Seed = 0,
    target: TargetFlags,
) -> Result:
    """Say how well an answer's sharpness in context tells whether it is right, beside the model's confidence.

    Numbers are areas under the curve over test entities, with 95 % intervals.

    Example: ravel knowledge --model bundled --entity-type city
    """
    config = api.KnowledgeConfig(
        entities=entities,
        layers=None if layer is None else tuple(layer),
        final_norm=final_norm,
        seed=seed,
    )
    with keeping("Nothing was written."), shown_progress() as progress:
        rows = api.knowledge(data, entity_type, target.config(model), config, progress)

    def text() -> None:
        cells = [
            (
                row.attribute,
                f"{row.n_right} of {row.n}",
                "-" if row.layer is None else str(row.layer),
                *(as_number(row.areas[name], row.intervals[name]) for name in _SIGNS),
                as_number(row.gain, row.gain_interval),
            )
            for row in rows
        ]
        print_rows(("attribute", "right", "layer", *_SIGNS, "together less log_probability"), cells)

    return Result([row.to_json() for row in rows], text, by_line=True)
