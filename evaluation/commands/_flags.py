"""Flags that several commands share, with their help; they decide nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ravel.common.errors import unknown_name

if TYPE_CHECKING:
    from evaluation.config.target import TargetConfig

__all__ = [
    "AllowPickle",
    "BatchTokens",
    "CacheFolder",
    "CacheMemory",
    "Data",
    "Device",
    "Dtype",
    "EngineName",
    "InstanceFolder",
    "Json",
    "Model",
    "Seed",
    "TrustRemoteCode",
    "given",
    "one_of",
    "quiet_transformers",
    "target_config",
]

Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON and nothing else.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", help="Hub id, folder, or 'bundled'. By default the model the instance was built for."
    ),
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

T = TypeVar("T", bound=str)


def one_of(kind: str, name: str, known: Iterable[T]) -> T:
    """Return the known name equal to `name`. Raises SuiteError with near misses if there is none."""
    names = list(known)
    for candidate in names:
        if candidate == name:
            return candidate
    raise unknown_name(kind, name, names)


def given(**flags: Any) -> dict[str, Any]:
    """Return the flags that the user gave: those that are neither None nor an empty list."""
    return {name: value for name, value in flags.items() if value is not None and value != []}


def target_config(
    model: str,
    *,
    dtype: str,
    device: str,
    engine: str,
    batch_tokens: int,
    cache_memory: str | None,
    cache_folder: Path | None,
    trust_remote_code: bool,
    allow_pickle: bool,
) -> TargetConfig:
    """Return the flags about the target model as one config."""
    from evaluation.config.target import TargetConfig

    quiet_transformers()
    return TargetConfig(
        model=model,
        dtype=dtype,
        device=device,
        engine=engine,
        batch_tokens=batch_tokens,
        cache_memory=cache_memory,
        cache_folder=cache_folder,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )


def quiet_transformers() -> None:
    """Switch off the library's own bars for reading weights, which would run through ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()
