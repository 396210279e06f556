"""Flags about a diagnosis: what is diagnosed, on which pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from evaluation import api
from evaluation.commands.flags.shared import PartitionName, Seed, Split
from ravel.common.errors import one_of
from ravel.terms.schema import GENERALISATIONS, PARTITIONS


@dataclass(frozen=True, slots=True)
class DiagnosisFlags:
    """What is diagnosed, on which pairs, and where the diagnosis goes."""

    attribute: Annotated[
        str | None, typer.Option("--attribute", help="Target attribute; by default the featurizer's own.")
    ] = None
    split: Split = "context"
    partition: PartitionName = "val"
    limit_pairs: Annotated[
        int, typer.Option("--limit-pairs", min=1, help="Most cause pairs, and most isolate pairs.")
    ] = 200
    shuffled: Annotated[
        Path | None,
        typer.Option("--shuffled", help="The same method's featurizer fitted on shuffled labels."),
    ] = None
    out: Annotated[
        Path | None, typer.Option("--out", help="JSON file for the diagnosis of a featurizer.")
    ] = None
    allow_foreign: Annotated[
        bool,
        typer.Option("--allow-foreign", help="Diagnose with a model or instance that it was not made with."),
    ] = False
    seed: Seed = 0

    def config(self) -> api.DiagnosisConfig:
        """Return the flags that say which pairs and how many."""
        return api.DiagnosisConfig(
            generalisation=one_of("split", self.split, GENERALISATIONS),
            partition=one_of(
                "partition to diagnose on", self.partition, [p for p in PARTITIONS if p != "train"]
            ),
            limit_pairs=self.limit_pairs,
            seed=self.seed,
        )
