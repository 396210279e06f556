"""Reads the versioned tasks of `tasks/`: facts, pair rules, model and metric, each fixed; it builds nothing.

A version never changes. What is to be different becomes the next version, beside the old one.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import Field

from evaluation.config.judging import DEFAULT_LABEL_TOKENS, Judging
from evaluation.config.target import TargetConfig
from ravel.building.config import BuildConfig
from ravel.common.config import Config
from ravel.common.errors import one_of
from ravel.common.io import canonical_json, sha256_text

_PACKAGE = "evaluation.config.tasks"
_SUFFIX = ".yaml"

Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Task(Config):
    """What everybody who enters is judged on, to the byte."""

    summary: str
    """One line for `ravel list tasks`."""
    entity_type: str
    """The entity type of the instance."""
    data: Literal["bundled", "release"] = "bundled"
    """Where the facts come from: `bundled`, or `release` for the official release, which is not shipped."""
    build: dict[str, Any] = Field(default_factory=dict)
    """Settings of the build that differ from the defaults: how pairs are drawn."""
    model: str
    """The target model, as `--model` takes it; its weights are float32."""
    track: str = "interchange"
    """What is asked."""
    metric: str = "v1"
    """Version of the rule by which outcomes are summed up."""
    label_tokens: int = DEFAULT_LABEL_TOKENS
    """How many of an answer's first tokens are compared."""
    tolerance: bool = True
    """Whether an answer that is close counts."""
    facts_sha256: Hash
    """SHA-256 of the facts and templates."""
    rules_sha256: Hash
    """SHA-256 of all settings of the build, defaults included."""
    instance_fingerprint: Hash
    """Fingerprint of the instance that facts, rules and model give."""

    def build_config(self) -> BuildConfig:
        """Return the settings of the build. Raises SuiteError if they don't fit."""
        return BuildConfig.from_mapping(self.build, origin="the task's build")

    def target(self) -> TargetConfig:
        """Return the model that answers."""
        return TargetConfig(model=self.model)

    def judging(self) -> Judging:
        """Return how outcomes are judged."""
        return Judging(self.label_tokens, self.tolerance)


def rules_sha256(config: BuildConfig) -> str:
    """Return the SHA-256 of all settings of a build."""
    return sha256_text(canonical_json(config.model_dump(mode="json")))


def task_names() -> list[str]:
    """Return the names of all tasks, sorted."""
    files = resources.files(_PACKAGE).iterdir()
    return sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX))


def task_named(name: str) -> Task:
    """Return a task. Raises SuiteError with near misses for an unknown name."""
    one_of("task", name, task_names())
    file = resources.files(_PACKAGE) / f"{name}{_SUFFIX}"
    return Task.from_yaml(file.read_text(encoding="utf-8"), origin=f"the task {name!r}")


def task_rows() -> list[dict[str, Any]]:
    """Return every task with what it fixes."""
    return [{"name": name, **task_named(name).model_dump(mode="json")} for name in task_names()]


@lru_cache(maxsize=1)
def _by_instance() -> dict[str, str]:
    return {task_named(name).instance_fingerprint: name for name in task_names()}


def task_of_instance(fingerprint: str) -> str | None:
    """Return the name of the task whose instance this is; None for an instance of no task."""
    return _by_instance().get(fingerprint)
