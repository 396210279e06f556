"""Single flags about the target model, and the memory and time that it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation.commands.flags.names import MEMORY, MODEL, choices

DTYPE_NAMES = ("float32", "bfloat16", "float16", "auto")
"""Dtypes of weights; a test holds them against what loads."""
ENGINE_NAMES = ("resume", "direct", "reference")
"""Engines; a test holds them against those that there are."""

ModelLabel = Annotated[
    str | None,
    typer.Option(
        "--model-label",
        help="What tables and pages call the model; by default its name.",
        rich_help_panel=MODEL,
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        help="Of the weights; auto: the instance's, or what a probe finds fastest here.",
        rich_help_panel=MODEL,
        **choices(*DTYPE_NAMES),
    ),
]
Device = Annotated[
    str,
    typer.Option("--device", help="cpu, cuda, cuda:1, ..., or auto for several.", rich_help_panel=MODEL),
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        help="resume computes nothing twice; reference is pyvene, slow, the oracle.",
        rich_help_panel=MEMORY,
        **choices(*ENGINE_NAMES),
    ),
]
BatchTokens = Annotated[
    int,
    typer.Option(
        "--batch-tokens",
        min=1,
        help="Tokens of a forward pass at most; halved by itself if memory runs out.",
        rich_help_panel=MEMORY,
    ),
]
CacheMemory = Annotated[
    str | None,
    typer.Option(
        "--cache-memory",
        help="Memory for what --engine resume keeps, such as 4GiB; by default a quarter of what is free.",
        rich_help_panel=MEMORY,
    ),
]
CacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--cache-folder",
        help="Folder for what does not fit into --cache-memory; without one it is computed again.",
        rich_help_panel=MEMORY,
    ),
]
Adapter = Annotated[
    Path | None,
    typer.Option(
        "--adapter",
        help="Folder of an adapter of PEFT, such as LoRA, to put on the model.",
        rich_help_panel=MODEL,
    ),
]
MergeAdapter = Annotated[
    bool,
    typer.Option(
        "--merge-adapter", help="Add --adapter to the weights, instead of beside them.", rich_help_panel=MODEL
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run code that the model brings along. Read it first.",
        rich_help_panel=MODEL,
    ),
]
AllowPickle = Annotated[
    bool,
    typer.Option(
        "--allow-pickle",
        help="Read pickled weights too; they can run code when loaded.",
        rich_help_panel=MODEL,
    ),
]
