"""`ravel train-sae`: a sparse autoencoder of a model's states over running text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import LoadFlags, NamedModel, command, given
from evaluation.commands.flags.names import choices
from evaluation.commands.flags.shared import Assignments, Seed
from evaluation.commands.printing import Result, keeping, say, shown_progress
from evaluation.config.assignments import assigned


@command
def train_sae(
    texts: Annotated[
        list[Path], typer.Argument(metavar="TEXT...", help="Plain text, or JSON Lines with `text`.")
    ],
    *,
    site: Annotated[str, typer.Option("--site", help="Stream and layer, such as block_output.12.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the autoencoder.")],
    model: NamedModel = "bundled",
    states: Annotated[
        Path | None,
        typer.Option("--states", help="Folder in which the states stay, for other calls to take."),
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option("--architecture", help="top_k unless given.", **choices("top_k", "jump_relu")),
    ] = None,
    expansion: Annotated[
        int | None, typer.Option("--expansion", min=1, help="Latents per coordinate.")
    ] = None,
    k: Annotated[int | None, typer.Option("--k", min=1, help="Latents that fire, for top_k.")] = None,
    tokens: Annotated[int | None, typer.Option("--tokens", min=1, help="Most states to train on.")] = None,
    assignments: Assignments = None,
    seed: Seed = 0,
    target: LoadFlags,
) -> Result:
    """Train a sparse autoencoder on a model's states over running text, and measure it on held-out documents.

    The folder is in the layout of sae-lens; methods with a dictionary read it as `pretrained: "lens:FOLDER"`.

    Example: ravel train-sae text.jsonl --model smollm2-135m --site block_output.12 --dtype auto --out sae
    """
    flags = {"architecture": architecture, "expansion": expansion, "k": k, "tokens": tokens}
    values = {**given(flags), "seed": seed}
    config = api.TextSaeConfig.from_mapping(values, origin="the flags")
    config = assigned(config, assignments or (), origin="--set")
    request = api.TextSaeRequest(tuple(texts), site, config)
    place = states or api.unfinished_sae(out)
    kept = f"What was gathered is kept in {place}; the same command goes on from there."
    with keeping(kept), shown_progress() as progress:
        result = api.train_sae(request, target.config(model), out, progress, states=states)

    def text() -> None:
        learned = f"learned from {result.states} states of {result.model}"
        say(f"{result.latents} latents of {result.site}, {learned}")
        say(
            f"on {result.held_out} held-out states: explained variance {result.explained_variance:.3f}, "
            f"L0 {result.l0:.1f}, dead latents {result.dead:.1%}"
        )
        if result.loss is not None:
            say(
                f"loss of the model {result.loss:.3f} nats per token, with the reconstruction "
                f"{result.loss_reconstructed:.3f}, with zeros {result.loss_zero:.3f}: "
                f"{result.recovered:.1%} recovered"
            )
        say(f'It is in {out}; methods read it as autoencoder: {{pretrained: "lens:{out}"}}.')

    return Result({**result.to_json(), "out": str(out)}, text)
