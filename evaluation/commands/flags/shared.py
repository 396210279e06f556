"""Single flags that several commands have, each with its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "Adapter",
    "AllowPickle",
    "BatchTokens",
    "CacheFolder",
    "CacheMemory",
    "Data",
    "Device",
    "Dtype",
    "EngineName",
    "InstanceFolder",
    "MergeAdapter",
    "Model",
    "ModelLabel",
    "PartitionName",
    "Seed",
    "Split",
    "TrustRemoteCode",
]

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Hub id, folder, GGUF file, a name of `ravel model fetch`, or 'bundled'. "
        "By default the model the instance was built for.",
    ),
]
ModelLabel = Annotated[
    str | None,
    typer.Option("--model-label", help="What tables and pages call the model; by default its name."),
]
Dtype = Annotated[str, typer.Option("--dtype", help="float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, ..., or auto for several.")]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine", help="resume, which computes nothing twice; direct; reference (pyvene, slow, the oracle)."
    ),
]
BatchTokens = Annotated[
    int,
    typer.Option(
        "--batch-tokens",
        min=1,
        help="Tokens of a forward pass at most; halved by itself if memory runs out.",
    ),
]
CacheMemory = Annotated[
    str | None,
    typer.Option(
        "--cache-memory",
        help="Memory for what --engine resume keeps, such as 4GiB; by default a quarter of what is free.",
    ),
]
CacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--cache-folder",
        help="Folder for what does not fit into --cache-memory; without one it is computed again.",
    ),
]
Adapter = Annotated[
    Path | None,
    typer.Option("--adapter", help="Folder of an adapter of PEFT, such as LoRA, to put on the model."),
]
MergeAdapter = Annotated[
    bool, typer.Option("--merge-adapter", help="Add --adapter to the weights, instead of beside them.")
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that the model brings along. Read it first.")
]
AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Read pickled weights too; they can run code when loaded.")
]
InstanceFolder = Annotated[Path, typer.Option("--instance", help="Folder written by ravel build.")]
Seed = Annotated[int, typer.Option("--seed", help="Root of every random stream.")]
Data = Annotated[
    str,
    typer.Option(
        "--data", help="'bundled', a folder of our layout, a RAVEL release (folder, .tgz) or hij/ravel."
    ),
]
Split = Annotated[str, typer.Option("--split", help="What is held out: context, entity or entity_context.")]
PartitionName = Annotated[str, typer.Option("--partition", help="val or test.")]
