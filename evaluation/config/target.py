"""Which target model runs and how: settings that every command with a model shares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveInt

from ravel.common.config import Config
from ravel.common.sizes import MemorySize, parse_bytes

if TYPE_CHECKING:
    from das.engine.base.protocol import Engine
    from das.models.base import TargetModel


class TargetSettings(Config):
    """What is said of a target model wherever one runs, in a suite too."""

    written_if_set: ClassVar[tuple[str, ...]] = ("adapter", "merge_adapter")
    """As in `Config`."""
    model: str = "bundled"
    """Target model: a hub id, a folder, a GGUF file, a name of `ravel model fetch`, or `bundled`."""
    dtype: str = "float32"
    """Dtype of the model's weights: float32, bfloat16, float16, or `auto` for that of the instance, and where
    there is none yet for what a probe finds fastest on the device."""
    device: str = "cpu"
    """Where the model runs: one device such as `cpu` or `cuda:1`, or `auto` for all GPUs and, where these do
    not suffice, memory and disk (needs accelerate)."""
    engine: str = "resume"
    """The engine that runs it."""
    batch_tokens: PositiveInt = 16_384
    """Tokens of one forward pass at most; lower it where memory is short."""
    cache_memory: MemorySize = None
    """What the kept states of `resume` may take of memory, such as 4GiB; None for a quarter of what is free
    when the model is loaded."""
    cache_folder: Path | None = None
    """Where states of `resume` go that do not fit; None: they are computed again."""
    adapter: Path | None = None
    """Folder of an adapter of PEFT, such as LoRA, that is put on the model."""
    merge_adapter: bool = False
    """Add the adapter to the weights, instead of having it at work beside them."""


class TargetConfig(TargetSettings):
    """A target model with the engine that runs it."""

    trust_remote_code: bool = False
    """Run code that comes with the model."""
    allow_pickle: bool = False
    """Read weights that are not safetensors."""

    def open(self) -> Engine:
        """Load the model and return its engine. Raises SuiteError for what is unknown or can't be loaded."""
        return self.engine_on(self.load())

    def load(self) -> TargetModel:
        """Load the model. Raises SuiteError as `load_target` does."""
        from das.models.load import load_target

        return load_target(
            self.model,
            dtype=self.dtype,
            device=self.device,
            trust_remote_code=self.trust_remote_code,
            allow_pickle=self.allow_pickle,
            adapter=self.adapter,
            merge_adapter=self.merge_adapter,
        )

    def engine_on(self, target: TargetModel) -> Engine:
        """Return the engine for a model that is loaded, after its self-test. Raises SuiteError as
        `make_engine` does."""
        from das.engine import make_engine

        return make_engine(
            self.engine,
            target,
            batch_tokens=self.batch_tokens,
            cache_bytes=None if self.cache_memory is None else parse_bytes(self.cache_memory),
            cache_folder=self.cache_folder,
            prove=True,
        )
