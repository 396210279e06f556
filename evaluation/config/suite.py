"""A suite as a user asks for it; it knows no cells and reads no instance."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator
from typing_extensions import Self

from evaluation.config.execution import ExecutionConfig
from evaluation.config.judging import DEFAULT_LABEL_TOKENS, Judging
from evaluation.config.target import TargetConfig, TargetSettings
from ravel.common.config import Config
from ravel.terms.schema import GENERALISATIONS, Generalisation

GROWING = ("methods", "attributes", "sites", "sizes", "seeds", "generalisations")
"""Settings to which a later config of the same run may add entries: that adds cells and changes none."""
FREE = (
    *("instance", "model", "device", "batch_tokens", "cache_memory", "cache_folder", "fit_together"),
    *("adapter", "merge_adapter", "model_label"),
    *("controls", "control_methods", "twins", "build", "execution"),
)
"""Settings that may change when a run is continued: instance and model, with its adapter, are compared by
fingerprint, controls lie beside the grid and change none of its cells, the rest is no setting of the
experiment."""

TWIN = "untrained_model"
"""The control that fits a method to random weights too."""
PROFILE = "full_vector"
"""The method by which sites are kept: it brings along all that is at a site."""
SiteSearch = Literal["full_vector", "transport"]


class SuiteBuild(Config):
    """How the instance of a suite is built, where the suite names none."""

    entity_type: str
    """The entity type."""
    data: str = "bundled"
    """Where the facts come from, as `ravel build --data` takes it."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the build that differ from the defaults."""


class MethodSpec(Config):
    """A method and its settings. A method that is listed twice with different settings is one row, tuned on
    validation."""

    name: str
    """As in `ravel list methods`."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Settings of the method; what is left out takes the method's default."""
    sizes: tuple[PositiveInt, ...] | None = None
    """Sizes of this method, where they are not the suite's: latents of a dictionary, say."""


class TrackSpec(Config):
    """What is asked of the featurizers that methods find."""

    name: str = "interchange"
    """As in `ravel list tracks`."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Settings of the track; what is left out takes the track's default."""

    def stated(self) -> dict[str, Any]:
        """Return what ids and headers of cells say of it: of the first track nothing, as ever."""
        return {} if self == TrackSpec() else {"track": self.name, "track_config": self.config}


class InstanceSettings(Config):
    """Which instance a suite runs on."""

    instance: str = ""
    """Folder of the instance; left out where the suite says how one is built."""
    build: SuiteBuild | None = None
    """How the instance is built, inside the folder of the run."""


# The order of the bases is that of the settings in a suite's file, from the last.
class SuiteConfig(TargetSettings, InstanceSettings):
    """The grid of methods, attributes, sites, sizes and seeds that `ravel run` works through."""

    written_if_set: ClassVar[tuple[str, ...]] = ("keep_sites", "site_search", "twins", "track", "model_label")
    """As in `Config`."""
    model_label: str | None = None
    """What tables and pages call the model; None for its name or, of a local path, the last part of it."""
    fit_together: PositiveInt = 8
    """How many trainings at one site go on side by side; it changes the time, and on a CPU no bit of what
    comes out."""
    methods: tuple[MethodSpec, ...] = Field(min_length=1)
    """Names, or mappings with `name` and `config`."""
    floors: bool = True
    """Add no_op, full_vector and random_subspace where they are not listed."""
    attributes: tuple[str, ...] | None = None
    """Target attributes; None for all of the instance."""
    sites: tuple[str, ...] = Field(min_length=1)
    """Such as `block_output.3@entity_last`, or patterns: `block_output.*@entity_last` for all layers,
    `head_output.0-2.*@prompt_last`; with several sites, one is chosen per method and attribute on
    validation."""
    keep_sites: PositiveInt | None = None
    """Fit full_vector at every site, all else only at so many of them: as `site_search` says, those where its
    cause on validation pairs is highest, on average over the attributes. None: all else at every site too."""
    site_search: SiteSearch = "full_vector"
    """By what `keep_sites` chooses: `full_vector`, its cause on validation pairs, the same sites for all
    attributes; `transport`, for each attribute the sites where it parts from the others, by optimal transport
    between what attributes and swapped sites do to answers. Neither takes a pass beyond those of
    full_vector."""
    sizes: tuple[PositiveInt, ...] = ()
    """Numbers of coordinates, chosen among like sites; methods with a size of their own ignore them, and a
    size beyond the width of a site is left out there."""
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    """A fit per seed; scores are averaged over them. Methods that draw nothing are fitted once."""
    generalisations: tuple[Generalisation, ...] = Field(default=GENERALISATIONS, min_length=1)
    """What is held out."""
    label_tokens: PositiveInt = DEFAULT_LABEL_TOKENS
    """How many of an answer's first tokens are compared."""
    tolerance: bool = True
    """Let an answer that is close count where the attribute's matcher does, as for latitudes; False compares
    tokens for every attribute."""
    resamples: PositiveInt = 1000
    """Read for older suites and not used: intervals draw nothing."""
    seed: int = 0
    """Read for older suites and not used: each fit draws from one of `seeds`."""
    controls: tuple[str, ...] = ()
    """Controls that must fail, as in `ravel list controls`, or `all`; each adds a row to every controlled
    method, at its chosen points and for the first seed."""
    control_methods: tuple[str, ...] | None = None
    """Methods that are controlled; None for those of the suite that learn from answers: from pairs or class
    labels."""
    twins: tuple[str, ...] = ()
    """Methods that are fitted to random weights as well, by the control `untrained_model`, and measured by
    their diversity ratio, whatever `controls` says. Those that fit a map which is not linear always are."""
    track: TrackSpec = TrackSpec()
    """What is asked of the featurizers: a name, or a mapping with `name` and `config`."""
    execution: ExecutionConfig = ExecutionConfig()
    """How the cells are carried out: a name, or a mapping with `kind` and more."""

    @model_validator(mode="after")
    def _sites_are_kept_by_full_vector(self) -> Self:
        if self.keep_sites and not self.floors and PROFILE not in {spec.name for spec in self.methods}:
            raise ValueError(f"keep_sites goes by {PROFILE}: list it, or leave `floors` on")
        if self.site_search != PROFILE and not self.keep_sites:
            raise ValueError("site_search says how keep_sites chooses: give keep_sites too")
        return self

    @field_validator("execution", mode="before")
    @classmethod
    def _name_is_execution(cls, value: Any) -> Any:
        """Take a bare name for a way with its default settings."""
        return {"kind": value} if isinstance(value, str) else value

    @field_validator("track", mode="before")
    @classmethod
    def _name_is_track(cls, value: Any) -> Any:
        """Take a bare name for a track with its default settings."""
        return {"name": value} if isinstance(value, str) else value

    @field_validator("methods", mode="before")
    @classmethod
    def _names_are_specs(cls, value: Any) -> Any:
        """Take a bare name for a method with its default settings."""
        if not isinstance(value, (list, tuple)):
            return value
        return tuple({"name": entry} if isinstance(entry, str) else entry for entry in value)

    def carried_out_controls(self) -> tuple[str, ...]:
        """Return the controls of a resolved suite by name, with that of its twins."""
        return tuple(sorted({*self.controls, *([TWIN] if self.twins else [])}))

    def methods_under(self, control: str) -> tuple[str, ...]:
        """Return the methods of a resolved suite that one of its controls is for."""
        listed = (self.control_methods or ()) if control in self.controls else ()
        return tuple(dict.fromkeys((*listed, *(self.twins if control == TWIN else ()))))

    def judging(self) -> Judging:
        """Return how outcomes are judged."""
        return Judging(self.label_tokens, self.tolerance, self.track.config)

    def target(self) -> TargetConfig:
        """Return the target model that the suite names."""
        return TargetConfig(**{name: getattr(self, name) for name in TargetSettings.model_fields})
