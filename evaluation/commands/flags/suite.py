"""Flags about a whole suite: what they override of its file, and how its cells are carried out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from evaluation import api
from evaluation.commands.flags.names import MEMORY, MODEL, choices, given
from evaluation.commands.flags.of_model import (
    ENGINE_NAMES,
    Adapter,
    AllowPickle,
    CacheFolder,
    CacheMemory,
    MergeAdapter,
    ModelLabel,
    TrustRemoteCode,
)
from evaluation.commands.flags.shared import Assignments
from evaluation.config.assignments import assigned
from evaluation.config.execution import EXECUTIONS

_OF_EXECUTION = ("workers", "threads", "retries")
_OF_NO_SUITE = ("assignments", "execution", *_OF_EXECUTION, "trust_remote_code", "allow_pickle")


@dataclass(frozen=True, slots=True)
class SuiteFlags:
    """Settings that a suite has too; those that are given count."""

    assignments: Assignments = None
    controls: Annotated[
        str | None,
        typer.Option(
            "--controls",
            help="Controls that must fail: all, or names with commas, as in `ravel list controls`.",
        ),
    ] = None
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine", help="Overrides the suite.", rich_help_panel=MEMORY, **choices(*ENGINE_NAMES)
        ),
    ] = None
    device: Annotated[
        str | None,
        typer.Option("--device", help="cpu, cuda, ...; overrides the suite.", rich_help_panel=MODEL),
    ] = None
    batch_tokens: Annotated[
        int | None,
        typer.Option(
            "--batch-tokens",
            min=1,
            help="Tokens of one forward pass; overrides the suite.",
            rich_help_panel=MEMORY,
        ),
    ] = None
    execution: Annotated[
        str | None,
        typer.Option(
            "--execution",
            help="How cells are carried out; overrides the suite.",
            rich_help_panel=MEMORY,
            **choices(*EXECUTIONS),
        ),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Cells that are worked on at once.", rich_help_panel=MEMORY),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", min=1, help="Processor threads, all workers together.", rich_help_panel=MEMORY
        ),
    ] = None
    retries: Annotated[
        int | None,
        typer.Option(
            "--retries",
            min=0,
            help="How often a cell that fails is tried again; 2 by default.",
            rich_help_panel=MEMORY,
        ),
    ] = None
    cache_memory: CacheMemory = None
    cache_folder: CacheFolder = None
    model_label: ModelLabel = None
    adapter: Adapter = None
    merge_adapter: MergeAdapter = False
    trust_remote_code: TrustRemoteCode = False
    allow_pickle: AllowPickle = False

    def overrides(self) -> dict[str, Any]:
        """Return the settings of a suite that were given by flags of their own, without how it is carried
        out."""
        names = None if self.controls is None else tuple(name.strip() for name in self.controls.split(","))
        flags = given({**asdict(self), "controls": names})
        return {name: value for name, value in flags.items() if name not in _OF_NO_SUITE}

    def config(self, config: api.SuiteConfig) -> api.SuiteConfig:
        """Return a suite with what was given in its place. Raises SuiteError as `assigned` does."""
        config = assigned(config, self.assignments or (), origin="--set")
        carried = given({"kind": self.execution, **{name: getattr(self, name) for name in _OF_EXECUTION}})
        execution = config.execution.with_settings(carried)
        return config.model_copy(update={**self.overrides(), "execution": execution})

    def target(self, config: api.SuiteConfig) -> api.TargetConfig:
        """Return the target that a suite names, opened with the trust that was given."""
        trust = {"trust_remote_code": self.trust_remote_code, "allow_pickle": self.allow_pickle}
        return config.target().model_copy(update=trust)
