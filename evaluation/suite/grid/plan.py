"""The grid of cells that follows from a resolved suite; it runs nothing and reads no files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from das.methods.common.base import Method
from das.methods.registry import METHODS
from das.sites import Site, SiteSpace
from evaluation.config.suite import PROFILE, MethodSpec, SuiteConfig
from evaluation.judging.recognition import check_gave_labels
from evaluation.records.headers import SUITE_SCHEMA_VERSION
from evaluation.scoring.track import Track
from evaluation.suite.grid.cell import Cell, id_of
from evaluation.suite.grid.resolve import PlannedOn
from evaluation.tracks import track_of
from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json
from ravel.common.registry import Registry
from ravel.instance import Instance
from ravel.terms.schema import split_name


def plan_cells(
    config: SuiteConfig, instance: PlannedOn, target: SiteSpace, *, methods: Registry[type[Method]] = METHODS
) -> tuple[Cell, ...]:
    """Return every cell of a resolved config, in the order of its lists.

    A method that needs no attribute is fitted once for all of them, one that needs no size once for all
    sizes, and one that draws nothing for the first seed only. Raises SuiteError for a site that the model
    does not have, a size that no site or no method has, and a model that did not give the instance's labels.
    """
    check_gave_labels(target, instance, "run with that model and dtype, or build an instance for this model")
    sites = [Site.parse(text) for text in config.sites]
    for site in sites:
        target.check(site)
    for spec in config.methods:
        _check_sizes(spec, methods.get(spec.name), config, sites, target)
    cells = [
        cell
        for spec in config.methods
        for cell in _cells_of(spec, methods.get(spec.name), config, sites, instance, target)
    ]
    return tuple(dict.fromkeys(cells))


def narrowed(cells: Sequence[Cell], sites: Mapping[str, Collection[Site]]) -> list[Cell]:
    """Return the cells at the sites of an attribute that they serve, and those of the profile wherever they
    are."""
    return [
        cell
        for cell in cells
        if cell.method == PROFILE or any(cell.serves(a) and cell.site in own for a, own in sites.items())
    ]


def check_splits(config: SuiteConfig, instance: Instance) -> None:
    """Raise SuiteError unless a resolved config has cases to report on and, where it leaves a choice, to
    choose by."""
    track = track_of(config)
    for generalisation in config.generalisations:
        split = split_name(generalisation, "test")
        if not track.cases(instance, split):
            raise SuiteError(
                expected=f"{track.unit} in {split}, for the suite lists the generalisation {generalisation}",
                came=f"an instance with pairs in {', '.join(instance.splits()) or 'no split at all'}",
                todo="remove it from the suite's generalisations, or build a larger instance",
            )
    if _leaves_a_choice(config):
        _check_validation(config, instance, track)


def _leaves_a_choice(config: SuiteConfig) -> bool:
    names = [spec.name for spec in config.methods]
    sizes = max(len(_wanted_sizes(spec, config)) for spec in config.methods)
    return len(config.sites) > 1 or sizes > 1 or len(set(names)) < len(names)


def _check_validation(config: SuiteConfig, instance: Instance, track: Track[Any]) -> None:
    splits = [split_name(generalisation, "val") for generalisation in config.generalisations]
    asked = [{case.attribute for case in track.cases(instance, split)} for split in splits]
    for attribute in config.attributes or ():
        if track.asks_about(instance, attribute) and not any(
            track.can_validate(found, attribute) for found in asked
        ):
            raise SuiteError(
                expected=f"{track.validated_by} of {attribute!r} in one of {', '.join(splits)}, "
                "for the suite leaves site, size or settings to be chosen",
                came="none",
                todo="fix one site, size and setting, drop the attribute, or build a larger instance",
            )


def _cells_of(
    spec: MethodSpec,
    method: type[Method],
    config: SuiteConfig,
    sites: Sequence[Site],
    instance: PlannedOn,
    target: SiteSpace,
) -> Iterator[Cell]:
    setting = canonical_json(spec.config)
    shared = {
        "suite_schema": SUITE_SCHEMA_VERSION,
        "label_tokens": config.label_tokens,
        "tolerance": config.tolerance,
        **config.track.stated(),
        "model_fingerprint": target.fingerprint,
        "instance_fingerprint": instance.fingerprint,
    }
    for attribute, site, size, seed in _points(spec, method, config, sites, target):
        cell = Cell("", spec.name, setting, attribute, site, size, seed)
        yield replace(cell, cell_id=id_of({**shared, **cell.stated()}))


def _points(
    spec: MethodSpec, method: type[Method], config: SuiteConfig, sites: Sequence[Site], target: SiteSpace
) -> Iterator[tuple[str | None, Site, int | None, int]]:
    """Yield attribute, site, size and seed of each cell of a method."""
    seeds = config.seeds if method.draws else config.seeds[:1]
    for attribute, site in product(_targets(method, config), sites):
        for size, seed in product(_sizes(spec, method, config, site, target), seeds):
            yield attribute, site, size, seed


def _targets(method: type[Method], config: SuiteConfig) -> Sequence[str | None]:
    assert config.attributes is not None
    return config.attributes if method.needs_attribute else (None,)


def _sizes(
    spec: MethodSpec, method: type[Method], config: SuiteConfig, site: Site, target: SiteSpace
) -> Sequence[int | None]:
    if not method.needs_size:
        return (None,)
    largest = _largest_size(spec, method, site, target)
    return [size for size in _wanted_sizes(spec, config) if size <= largest]


def _wanted_sizes(spec: MethodSpec, config: SuiteConfig) -> tuple[int, ...]:
    return config.sizes if spec.sizes is None else spec.sizes


def _largest_size(spec: MethodSpec, method: type[Method], site: Site, target: SiteSpace) -> int:
    settings = method.config_class.from_mapping(spec.config, origin=f"method {spec.name}")
    return method(settings).largest_size(target.width(site))


def _check_sizes(
    spec: MethodSpec, method: type[Method], config: SuiteConfig, sites: Sequence[Site], target: SiteSpace
) -> None:
    """Raise SuiteError for a method without a size, and for a size that fits it at no site."""
    if not method.needs_size:
        return
    wanted = _wanted_sizes(spec, config)
    if not wanted:
        raise SuiteError(
            expected=f"at least one size, for {method.name} needs one",
            came="an empty list",
            todo="add for instance `sizes: [16]` to the suite",
        )
    largest = max(_largest_size(spec, method, site, target) for site in sites)
    too_large = [size for size in wanted if size > largest]
    if too_large:
        raise SuiteError(
            expected=f"sizes from 1 to {largest}, the most that {method.name} has at the suite's sites of "
            f"{target.name}",
            came=", ".join(map(str, too_large)),
            todo="remove the larger sizes, or give methods with more to choose from `sizes` of their own",
        )
