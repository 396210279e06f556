"""How a suite is carried out: settings that change the time, and no number; it carries out nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from ravel.common.config import Config
from ravel.common.errors import unknown_name
from ravel.common.sizes import MemorySize

ExecutionKind = Literal["serial", "processes", "ray"]
EXECUTIONS: tuple[ExecutionKind, ...] = ("serial", "processes", "ray")
"""Names of the ways, as on the command line."""


class ExecutionConfig(Config):
    """How the cells of a run are carried out."""

    kind: ExecutionKind = "serial"
    """`serial`: one after the other in this process; `processes`: a pool on this machine; `ray`: tasks on a
    Ray cluster."""
    workers: PositiveInt | None = None
    """How many jobs go on at once; None for as many as GPUs or else processors have room for, and with `ray`
    as many as the cluster has."""
    threads: PositiveInt | None = None
    """Processor threads for all workers of a machine together, shared out evenly; None for every processor
    that this process may use. With `ray`: threads of one task, by default 1."""
    retries: NonNegativeInt = 2
    """How often a cell is tried again after a crash or a worker's death before it is recorded as failed."""
    memory: MemorySize = None
    """Main memory that one worker needs, such as 8GiB: no more workers are started than fit."""
    gpus: float = Field(default=0.0, ge=0.0)
    """GPUs that one worker needs; 0.5 lets two share one."""
    address: str | None = None
    """With `ray`: the cluster's address; None for the one that RAY_ADDRESS names, or else a new local one."""

    def with_settings(self, settings: Mapping[str, Any]) -> ExecutionConfig:
        """Return these settings with some others in their place. Raises SuiteError for one that doesn't
        fit."""
        kind = settings.get("kind", self.kind)
        if kind not in EXECUTIONS:
            raise unknown_name("execution", str(kind), EXECUTIONS)
        return type(self).from_mapping({**self.model_dump(), **settings}, origin="the execution")
