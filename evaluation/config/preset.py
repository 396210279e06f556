"""Reads the named suites of `presets/` and lays published figures beside ours; it runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any, Literal, get_args

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from das.sites import Site
from evaluation.config.suite import MethodSpec, SuiteConfig
from ravel.building import BuildConfig
from ravel.common.config import Config
from ravel.common.errors import one_of
from ravel.common.strict_yaml import parse_yaml
from ravel.terms.schema import Generalisation

_PACKAGE = "evaluation.config.presets"
_SUFFIX = ".yaml"
MEAN_OVER_ATTRIBUTES = "mean over attributes"
"""What `attribute` says where a publication gives the mean over all attributes of the type."""

Score = Literal["cause", "isolate", "disentangle"]
SCORES: tuple[Score, ...] = get_args(Score)


class ModelShape(Config):
    """How large a model is: enough to plan for it without its weights."""

    layers: PositiveInt
    """Number of blocks."""
    width: PositiveInt
    """Width of the residual stream."""
    heads: NonNegativeInt
    """Attention heads of a block; 0 for a model without."""
    kv_heads: PositiveInt | None = None
    """Heads of keys and values, where they are fewer; None: as many."""
    head_width: PositiveInt
    """Length of a head's output."""
    vocabulary: PositiveInt
    """Number of tokens."""
    parameters: PositiveInt
    """Number of weights, rounded."""

    def size_at(self, site: Site) -> int:
        """Return the length of the vector at a site."""
        return self.width if site.head is None else self.head_width


class Published(Config):
    """One published figure."""

    method: str
    """Our name of the method."""
    attribute: str
    """The target attribute, or in words what was averaged over."""
    generalisation: Generalisation
    """What is held out."""
    size: PositiveInt | None = None
    """Number of coordinates, where stated."""
    site: str | None = None
    """Where, if figures of several sites were published."""
    cause: float | None = None
    """Published cause, from 0 to 1."""
    isolate: float | None = None
    """Published isolate, from 0 to 1."""
    disentangle: float | None = None
    """Published disentangle, from 0 to 1."""
    tolerance: NonNegativeFloat
    """How far ours may lie from it and still count as a reproduction; our judgement, for data differ."""


class Preset(Config):
    """A suite with the instance it runs on and the figures it is meant to reproduce."""

    summary: str
    """One line for `ravel list presets`."""
    entity_type: str
    """The entity type of the instance."""
    data: str
    """Where the facts come from, as `ravel build --data` takes it."""
    build: dict[str, Any] = Field(default_factory=dict)
    """Settings of the build that differ from the defaults."""
    suite: dict[str, Any]
    """Settings of the suite, without `instance`."""
    shape: ModelShape
    """The model's size."""
    source: str
    """Where the published figures stand."""
    notes: tuple[str, ...] = ()
    """What is unknown or different, as sentences."""
    published: tuple[Published, ...]
    """The figures; empty for suites of our own."""

    def build_config(self) -> BuildConfig:
        """Return the settings of the build. Raises SuiteError if they don't fit."""
        return BuildConfig.from_mapping(self.build, origin="the preset's build")

    def suite_config(self, instance: str, overrides: Mapping[str, Any] | None = None) -> SuiteConfig:
        """Return the suite on an instance, with settings that differ from the preset's. Raises SuiteError if
        its settings don't fit."""
        settings = {**self.suite, **(overrides or {}), "instance": instance}
        return SuiteConfig.from_mapping(settings, origin="the preset's suite")

    def methods(self) -> tuple[MethodSpec, ...]:
        """Return the suite's methods."""
        return self.suite_config("").methods


def preset_names() -> list[str]:
    """Return the names of all presets, sorted."""
    files = resources.files(_PACKAGE).iterdir()
    return sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX))


def preset_named(name: str) -> Preset:
    """Return a preset. Raises SuiteError with near misses for an unknown name."""
    one_of("preset", name, preset_names())
    return Preset.from_yaml(_text_of(name), origin=f"the preset {name!r}")


def _text_of(name: str) -> str:
    return (resources.files(_PACKAGE) / f"{name}{_SUFFIX}").read_text(encoding="utf-8")


def preset_lines() -> list[dict[str, str]]:
    """Return every preset with name and summary only, which stands in the first line of its file."""
    return [{"name": name, **parse_yaml(_text_of(name).partition("\n")[0])} for name in preset_names()]


def preset_rows() -> list[dict[str, Any]]:
    """Return every preset with its model, how many published figures it holds, and their source."""
    return [
        {
            "name": name,
            "summary": preset.summary,
            "model": preset.suite_config("").model,
            "published": len(preset.published),
            "source": preset.source,
        }
        for name, preset in ((name, preset_named(name)) for name in preset_names())
    ]
