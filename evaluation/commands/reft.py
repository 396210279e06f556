"""`ravel reft`: a model fine-tuned by small learned changes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import LoadFlags, NamedModel, command
from evaluation.commands.flags.names import choices
from evaluation.commands.flags.reft import ReftFlags
from evaluation.commands.printing import Result, keeping, say, shown_progress


@command
def reft(
    *,
    data: Annotated[
        Path | None,
        typer.Argument(metavar="DATA.jsonl", help="Lines with a prompt and an answer, perhaps a split."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="A new folder for what is learned.")],
    model: NamedModel = "bundled",
    task: Annotated[
        str | None,
        typer.Option("--task", help="Built-in questions instead.", **choices("arithmetic", "classification")),
    ] = None,
    held_out: Annotated[
        float, typer.Option("--held-out", help="Share of prompts for the test, where no split is stated.")
    ] = 0.2,
    learned: ReftFlags,
    target: LoadFlags,
) -> Result:
    """Fine-tune a model by LoReFT, DiReFT or LoRA on prompts and answers, and ask it held-out ones.

    The model stays as it is; what is learned goes into --out, and into a folder of pyreft or PEFT there.

    Example: ravel reft --task classification --kind lora --learning-rate 0.005 --out tuned
    """
    request = api.ReftRequest(learned.settings(), data, task, held_out)
    kept = f"A checkpoint is kept in {api.unfinished_reft(out)}; the same command goes on from there."
    with keeping(kept), shown_progress() as progress:
        result = api.reft(request, target.config(model), out, progress)

    def text() -> None:
        say(
            f"{result.kind} on {result.model}: {result.n_parameters} numbers learned, "
            f"{result.trainable_share:.4%} of the model's {result.n_model_parameters}"
        )
        say(f"{result.steps} steps on {result.n_train} questions; last loss {result.final_loss:.4f} nats")
        say(
            f"exact match on {result.n_test} held-out questions: {result.exact_match:.3f} "
            f"(before: {result.exact_match_before:.3f})"
        )
        say(f"What was learned is in {out}, for other tools in {out / result.exported}.")

    return Result({**result.to_json(), "trainable_share": result.trainable_share, "out": str(out)}, text)
