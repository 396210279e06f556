"""Which target model runs and how: settings that every command with a model shares."""

from __future__ import annotations

from pydantic import PositiveInt

from das.engine import make_engine
from das.engine.protocol import Engine
from das.models.load import load_target
from ravel.common.config import Config

__all__ = ["TargetConfig"]


class TargetConfig(Config):
    """A target model with the engine that runs it."""

    model: str = "bundled"
    """A hub id, a folder or `bundled`."""
    dtype: str = "float32"
    """Dtype of the model's weights."""
    device: str = "cpu"
    """Where the model runs."""
    engine: str = "direct"
    """The engine that runs it."""
    batch_tokens: PositiveInt = 16_384
    """Tokens of one forward pass at most; lower it where memory is short."""
    trust_remote_code: bool = False
    """Run code that comes with the model."""
    allow_pickle: bool = False
    """Read weights that are not safetensors."""

    def open(self) -> Engine:
        """Load the model and return its engine. Raises SuiteError for what is unknown or can't be loaded."""
        target = load_target(
            self.model,
            dtype=self.dtype,
            device=self.device,
            trust_remote_code=self.trust_remote_code,
            allow_pickle=self.allow_pickle,
        )
        return make_engine(self.engine, target, batch_tokens=self.batch_tokens)
