"""Flags about a fine-tuning: what is learned, where, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags.names import choices, given
from evaluation.commands.flags.shared import Assignments, Seed
from evaluation.config.assignments import assigned
from ravel.common.errors import SuiteError

KIND_NAMES = ("loreft", "noreft", "consreft", "direft", "direft_orthonormal", "lora")
"""What can be learned; a test holds them against those that there are."""


@dataclass(frozen=True, slots=True)
class ReftFlags:
    """Settings of a fine-tuning; those that are given count, over those of `--config`."""

    kind: Annotated[
        str | None,
        typer.Option("--kind", help="What is learned; loreft unless given.", **choices(*KIND_NAMES)),
    ] = None
    rank: Annotated[int | None, typer.Option("--rank", min=1, help="Rows of each change.")] = None
    layers: Annotated[str | None, typer.Option("--layers", help="all, or numbers with commas.")] = None
    positions: Annotated[
        str | None, typer.Option("--positions", help="First and last prompt tokens, such as f7+l7.")
    ] = None
    untied: Annotated[
        bool, typer.Option("--untied", help="First and last tokens each have a change of their own.")
    ] = False
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Optimiser steps.")] = None
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Largest rate of AdamW.")] = (
        None
    )
    config: Annotated[Path | None, typer.Option("--config", help="YAML with settings.")] = None
    assignments: Assignments = None
    seed: Seed = 0

    def settings(self) -> api.ReftConfig:
        """Return the settings. Raises SuiteError for what does not fit."""
        base = api.ReftConfig() if self.config is None else api.ReftConfig.from_file(self.config)
        named = ("kind", "rank", "positions", "steps", "learning_rate")
        values = {**base.model_dump(mode="json"), **given({name: getattr(self, name) for name in named})}
        values["seed"] = self.seed
        if self.untied:
            values["tied"] = False
        if self.layers is not None:
            values["layers"] = _numbers(self.layers)
        config = api.ReftConfig.from_mapping(values, origin="the flags")
        return assigned(config, self.assignments or (), origin="--set")


def _numbers(text: str) -> list[int] | None:
    """Read `all` or numbers with commas. Raises SuiteError for anything else."""
    if text == "all":
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise SuiteError(
            expected="layers as numbers with commas, or all", came=repr(text), todo="write for instance 0,2,4"
        )
    return [int(part) for part in parts]
