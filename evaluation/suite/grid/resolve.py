"""A suite's config with all spelled out that it leaves open; it knows no cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from das.methods.common.base import Method, MethodConfig
from das.methods.registry import METHODS
from das.models.expansion import expand_sites
from das.sites import SiteSpace
from evaluation.config.suite import TWIN, MethodSpec, SuiteConfig, TrackSpec
from evaluation.judging.recognition import Labelled
from evaluation.records.measured import INTERCHANGE
from evaluation.scoring.track import Track
from evaluation.suite.controls import CONTROLS
from evaluation.tracks import track_of
from ravel.common.errors import SuiteError, one_of
from ravel.common.registry import Registry
from ravel.terms.schema import GENERALISATIONS

ALL_CONTROLS = "all"
"""Stands for every control in a suite's list."""


class PlannedOn(Labelled, Protocol):
    """What a plan must know of an instance: a whole one, or what will be built."""

    @property
    def entity_type(self) -> str:
        """The entity type."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attributes that pairs ask for."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the content."""


def resolve(
    config: SuiteConfig,
    instance: PlannedOn,
    target: SiteSpace,
    *,
    methods: Registry[type[Method]] = METHODS,
) -> SuiteConfig:
    """Spell out what the config leaves open: references, attributes, patterns of sites, settings of methods
    and of the track.

    Duplicates are dropped. Raises SuiteError for an unknown track, method, setting or attribute, for a
    control of another track, and for a site that the model does not have.
    """
    track = track_of(config)
    listed = [spec.name for spec in config.methods]
    attributes = _attributes(config, instance)
    _check_site_search(config, attributes, track)
    extra = [
        MethodSpec(name=reference.method)
        for reference in track.references
        if config.floors
        and reference.added
        and reference.method not in listed
        and reference.method in methods
    ]
    specs = [_resolved_method(spec, methods, track) for spec in (*config.methods, *extra)]
    listed = [spec.name for spec in specs]
    return config.model_copy(
        update={
            "methods": _unique(specs),
            "attributes": attributes,
            "sites": tuple(expand_sites(config.sites, target)),
            "sizes": _unique(config.sizes),
            "seeds": _unique(config.seeds),
            "generalisations": tuple(g for g in GENERALISATIONS if g in config.generalisations),
            "controls": _controls(config.controls, track),
            "control_methods": _control_methods(config, listed, methods),
            "twins": _twins(config, listed, track, methods),
            "track": TrackSpec(
                name=track.name, config=track.settings(config.judging()).model_dump(mode="json")
            ),
        }
    )


def _resolved_method(spec: MethodSpec, methods: Registry[type[Method]], track: Track[Any]) -> MethodSpec:
    method = methods.get(spec.name)
    if method.finds not in track.takes:
        raise SuiteError(
            expected=f"methods that find a {' or a '.join(track.takes)}, for the track {track.name}",
            came=f"{spec.name}, which finds a {method.finds}",
            todo="leave it out, or name a track that takes it; `ravel list tracks` tells which do",
        )
    config_class: type[MethodConfig] = method.config_class
    config = config_class.from_mapping(spec.config, origin=f"the suite's settings of method {spec.name!r}")
    sizes = None if spec.sizes is None else _unique(spec.sizes)
    return MethodSpec(name=spec.name, config=config.model_dump(mode="json"), sizes=sizes)


def _attributes(config: SuiteConfig, instance: PlannedOn) -> tuple[str, ...]:
    wanted = instance.attributes if config.attributes is None else _unique(config.attributes)
    for attribute in wanted:
        one_of(f"attribute of this {instance.entity_type} instance", attribute, instance.attributes)
    if not wanted:
        raise SuiteError(
            expected="at least one target attribute",
            came="none" if config.attributes is not None else "an instance without attributes",
            todo="name attributes in the suite, or build an instance with training and evaluation pairs",
        )
    return wanted


def _check_site_search(config: SuiteConfig, attributes: Sequence[str], track: Track[Any]) -> None:
    """Raise SuiteError where transport has nothing to tell sites apart by."""
    if config.site_search == "transport" and (track.name != INTERCHANGE or len(attributes) < 2):
        raise SuiteError(
            expected=f"site_search transport on the track {INTERCHANGE}, and two attributes at least between "
            "which it tells sites apart",
            came=f"the track {track.name} with {', '.join(attributes)}",
            todo="leave `site_search` out, and sites are kept by full_vector",
        )


def _controls(names: Sequence[str], track: Track[Any]) -> tuple[str, ...]:
    """Return the controls by name, in the order of the registry."""
    of_track = tuple(control.name for control in CONTROLS if control.track == track.name)
    wanted = tuple(sorted({CONTROLS.get(name).name for name in names if name != ALL_CONTROLS}))
    foreign = [name for name in wanted if name not in of_track]
    if foreign or (names and not of_track):
        raise SuiteError(
            expected=f"controls of the track {track.name}: {', '.join(of_track) or 'there are none'}",
            came=", ".join(foreign) or ALL_CONTROLS,
            todo="leave `controls` out, or run another track",
        )
    return of_track if ALL_CONTROLS in names else wanted


def _control_methods(
    config: SuiteConfig, listed: Sequence[str], methods: Registry[type[Method]]
) -> tuple[str, ...] | None:
    """Return the controlled methods; what was left open stays open where there are no controls."""
    if config.control_methods is not None:
        for name in config.control_methods:
            one_of("method of this suite to be controlled", name, listed)
        return _unique(config.control_methods)
    if not config.controls:
        return None
    learning = [n for n in _unique(listed) if methods.get(n).needs_pairs or methods.get(n).needs_labels]
    if not learning:
        raise SuiteError(
            expected="a method that learns from answers, for the suite lists controls",
            came=f"only {', '.join(_unique(listed))}",
            todo="list a method such as mdas, name one in `control_methods`, or leave `controls` out",
        )
    return tuple(learning)


def _twins(
    config: SuiteConfig, listed: Sequence[str], track: Track[Any], methods: Registry[type[Method]]
) -> tuple[str, ...]:
    """Return the methods that are fitted to random weights too: those that are named, and those whose map is
    not linear; none in a track that the control is not of."""
    for name in config.twins:
        one_of("method of this suite to be fitted to random weights", name, listed)
    if CONTROLS.get(TWIN).track != track.name:
        _controls([TWIN] if config.twins else [], track)
        return ()
    return tuple(n for n in _unique(listed) if n in config.twins or methods.get(n).fits_nonlinear_map)


def _unique(values: Sequence[Any]) -> tuple[Any, ...]:
    kept: list[Any] = []
    for value in values:
        if value not in kept:
            kept.append(value)
    return tuple(kept)
