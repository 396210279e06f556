"""Flags that several commands share, and how a function with them becomes a command; they decide nothing."""

from __future__ import annotations

from evaluation.commands.flags.command import command
from evaluation.commands.flags.names import given
from evaluation.commands.flags.shared import (
    Data,
    InstanceFolder,
    Model,
    NamedModel,
    PartitionName,
    Seed,
    Split,
)
from evaluation.commands.flags.target import LoadFlags, TargetFlags

__all__ = [
    "Data",
    "InstanceFolder",
    "LoadFlags",
    "Model",
    "NamedModel",
    "PartitionName",
    "Seed",
    "Split",
    "TargetFlags",
    "command",
    "given",
]
