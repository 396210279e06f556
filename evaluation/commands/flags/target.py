"""Flags about the target model: to load it, or to load and run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evaluation import api
from evaluation.commands.flags.of_model import (
    Adapter,
    AllowPickle,
    BatchTokens,
    CacheFolder,
    CacheMemory,
    Device,
    Dtype,
    EngineName,
    MergeAdapter,
    TrustRemoteCode,
)


@dataclass(frozen=True, slots=True)
class TargetFlags:
    """How the target model is loaded and run."""

    dtype: Dtype = "float32"
    device: Device = "cpu"
    engine: EngineName = "resume"
    batch_tokens: BatchTokens = 16_384
    cache_memory: CacheMemory = None
    cache_folder: CacheFolder = None
    adapter: Adapter = None
    merge_adapter: MergeAdapter = False
    trust_remote_code: TrustRemoteCode = False
    allow_pickle: AllowPickle = False

    def config(self, model: str | None, *, named_in: Path | None = None) -> api.TargetConfig:
        """Return the flags as the config of a model, by default the one that a run or an instance names."""
        return _config(model, named_in, asdict(self))


@dataclass(frozen=True, slots=True)
class LoadFlags:
    """How the target model is loaded where it hardly runs."""

    dtype: Dtype = "float32"
    device: Device = "cpu"
    adapter: Adapter = None
    merge_adapter: MergeAdapter = False
    trust_remote_code: TrustRemoteCode = False
    allow_pickle: AllowPickle = False

    def config(self, model: str | None, *, named_in: Path | None = None) -> api.TargetConfig:
        """Return what `TargetFlags.config` does, with the engine that keeps nothing."""
        return _config(model, named_in, {**asdict(self), "engine": "direct"})


def _config(model: str | None, named_in: Path | None, flags: Mapping[str, Any]) -> api.TargetConfig:
    if model is None:
        assert named_in is not None
        model = api.model_named_in(named_in)
    config = api.TargetConfig(model=model, **flags)
    return config if named_in is None else api.with_dtype_of(config, named_in)
