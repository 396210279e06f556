"""`ravel axbench`: AxBench's own protocol on its own files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluation import api
from evaluation.commands.flags import LoadFlags, NamedModel, Seed, command
from evaluation.commands.flags.names import choices
from evaluation.commands.flags.shared import Assignments
from evaluation.commands.printing import Result, as_number, keeping, print_rows, say, shown_progress
from evaluation.config.assignments import assigned
from ravel.common.errors import SuiteError, one_of

if TYPE_CHECKING:
    from evaluation.axbench.judges import Judge
    from evaluation.axbench.run import AxbenchResult
    from evaluation.axbench.steering import SteeringRow

_JUDGES = ("words", "endpoint", "model")


@command
def axbench(
    *,
    data: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Concept data: Parquet files to train on and to test.")
    ],
    layer: Annotated[int, typer.Option("--layer", min=0, help="The block after which states are taken.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for results; what is there is not done again.")],
    model: NamedModel = "bundled",
    chat: Annotated[bool, typer.Option("--chat", help="Go through the model's chat template.")] = False,
    judge: Annotated[
        str | None,
        typer.Option("--judge", help="Steer too, and have answers rated by this judge.", **choices(*_JUDGES)),
    ] = None,
    judge_url: Annotated[
        str | None, typer.Option("--judge-url", help="An OpenAI-compatible API, for --judge endpoint.")
    ] = None,
    judge_model: Annotated[
        str | None,
        typer.Option(
            "--judge-model", help="The model to ask; of --judge model a hub id, folder or GGUF file."
        ),
    ] = None,
    judge_key: Annotated[
        str | None, typer.Option("--judge-key", help="Environment variable that holds its key.")
    ] = None,
    assignments: Assignments = None,
    seed: Seed = 0,
    target: LoadFlags,
) -> Result:
    """Detect and steer the concepts of AxBench's data, scored as its code scores them.

    Ratings of a model and of a rule stand in columns of their own. Where a judge is down answers stay
    unrated, and the same command goes on.

    Example: ravel axbench concepts --model some/model --layer 10 --chat --out axbench-run
    """
    asked = None if judge is None else _judge(judge, judge_url, judge_model, judge_key, target)
    config = assigned(api.AxbenchConfig(layer=layer, chat=chat, seed=seed), assignments or (), origin="--set")
    with keeping(f"What was done is kept in {out}; the same command goes on."), shown_progress() as progress:
        result = api.axbench(data, target.config(model), config, out, asked, progress)
    rows = [*result.detection, *result.steering]
    left = f"{result.n_unfinished} answers have no rating yet; the same command asks for them again."
    unfinished = (left,) if result.n_unfinished else ()
    return Result(
        [row.to_json() for row in rows],
        lambda: _say(result),
        by_line=True,
        warnings=unfinished,
        exit_code=int(bool(unfinished)),
    )


def _judge(name: str, url: str | None, model: str | None, key: str | None, target: LoadFlags) -> Judge:
    if one_of("judge", name, _JUDGES) == "words":
        return api.WordJudge()
    if model is None or (name == "endpoint" and url is None):
        raise SuiteError(
            expected=f"the {'address and the ' * (name == 'endpoint')}model that is to judge",
            came="no model" if model is None else "no address",
            todo="give --judge-model" + " and --judge-url" * (name == "endpoint"),
        )
    if url is None or name == "model":
        return api.ModelJudge(target.config(model).load())
    return api.EndpointJudge(url, model, key_variable=key)


def _say(result: AxbenchResult) -> None:
    print_rows(
        ("method", "concept", "AUROC", "F1", "hard negatives"),
        [
            (row.method, row.concept[:40], *map(as_number, (row.auroc, row.f1, row.hard_negative_accuracy)))
            for row in result.detection
        ],
    )
    if result.steering:
        print_rows(
            ("method", "concept", "factor", "judged overall", "exact overall", "judge"),
            [(r.method, r.concept_id, r.factor or "-", *_overall(r), r.judge) for r in result.steering],
        )
    for number, reason in result.left_out.items():
        say(f"Concept {number} was left out: {reason}.")


def _overall(row: SteeringRow) -> tuple[str, str]:
    return as_number(row.judged_overall), as_number(row.exact_overall)
