"""A suite's config and the grid of cells that follows from it; it runs nothing and reads no files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from das.methods.common.base import Method, MethodConfig
from das.methods.registry import METHODS
from das.models.expansion import expand_sites
from das.sites import Site, SiteSpace
from evaluation.config.suite import MethodSpec, SuiteConfig
from evaluation.judging.recognition import Labelled, check_gave_labels
from evaluation.records.headers import SUITE_SCHEMA_VERSION
from evaluation.records.scores import ADDED_FLOORS, control_row
from evaluation.suite.controls import CONTROLS
from ravel.common.errors import SuiteError, unknown_name
from ravel.common.io import canonical_json, sha256_text
from ravel.common.registry import Registry
from ravel.instance import Instance
from ravel.terms.schema import GENERALISATIONS, split_name

__all__ = [
    "ALL_CONTROLS",
    "SUITE_SCHEMA_VERSION",
    "Cell",
    "PlannedOn",
    "check_splits",
    "control_cell",
    "plan_cells",
    "resolve",
]

CONTROL_SCHEMA_VERSION = 1
"""Goes into the ids of controlled cells; a change of what a control does raises it."""
ALL_CONTROLS = "all"
"""Stands for every control in a suite's list."""


class PlannedOn(Labelled, Protocol):
    """What a plan must know of an instance: a whole one, or what will be built."""

    @property
    def entity_type(self) -> str:
        """The entity type."""
        ...

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attributes that pairs ask for."""
        ...

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the content."""
        ...


@dataclass(frozen=True, slots=True)
class Cell:
    """One fit: a method with its settings on one target attribute, site, size and seed."""

    cell_id: str
    """First 16 hexadecimal digits of the hash of all that determines the result."""
    method: str
    """As in the registry."""
    setting: str
    """The method's resolved config as canonical JSON."""
    attribute: str | None
    """The target; None if the featurizer is the same for all of them."""
    site: Site
    """Where the featurizer acts."""
    size: int | None
    """Number of coordinates asked for; None if it follows from the method."""
    seed: int
    """Root of the fit's random streams."""
    control: str | None = None
    """The control under which it is fitted and judged; None for a cell of the grid."""

    def serves(self, attribute: str) -> bool:
        """Tell whether this cell's outcomes score this target."""
        return self.attribute is None or self.attribute == attribute

    def label(self) -> str:
        """Name the cell for people."""
        size = "" if self.size is None else f" size {self.size}"
        name = self.method if self.control is None else control_row(self.method, self.control)
        return f"{name} {self.attribute or 'every attribute'} {self.site}{size} seed {self.seed}"


def resolve(
    config: SuiteConfig,
    instance: PlannedOn,
    target: SiteSpace,
    *,
    methods: Registry[type[Method]] = METHODS,
) -> SuiteConfig:
    """Spell out what the config leaves open: floors, attributes, patterns of sites, settings of methods.

    Duplicates are dropped. Raises SuiteError for an unknown method, setting or attribute, and for a site
    that the model does not have.
    """
    listed = [spec.name for spec in config.methods]
    extra = [
        MethodSpec(name=name)
        for name in ADDED_FLOORS
        if config.floors and name not in listed and name in methods
    ]
    specs = [_resolved_method(spec, methods) for spec in (*config.methods, *extra)]
    return config.model_copy(
        update={
            "methods": _unique(specs),
            "attributes": _attributes(config, instance),
            "sites": tuple(expand_sites(config.sites, target)),
            "sizes": _unique(config.sizes),
            "seeds": _unique(config.seeds),
            "generalisations": tuple(g for g in GENERALISATIONS if g in config.generalisations),
            "controls": _controls(config.controls),
            "control_methods": _control_methods(config, [spec.name for spec in specs], methods),
        }
    )


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
    return tuple(_unique(cells))


def check_splits(config: SuiteConfig, instance: Instance) -> None:
    """Raise SuiteError unless a resolved config has pairs to report on and, where it leaves a choice, to
    choose by."""
    for generalisation in config.generalisations:
        split = split_name(generalisation, "test")
        if not instance.pairs(split):
            raise SuiteError(
                expected=f"pairs in {split}, for the suite lists the generalisation {generalisation}",
                came=f"an instance with pairs in {', '.join(instance.splits()) or 'no split at all'}",
                todo="remove it from the suite's generalisations, or build a larger instance",
            )
    if _leaves_a_choice(config):
        _check_validation(config, instance)


def _leaves_a_choice(config: SuiteConfig) -> bool:
    names = [spec.name for spec in config.methods]
    sizes = max(len(_wanted_sizes(spec, config)) for spec in config.methods)
    return len(config.sites) > 1 or sizes > 1 or len(set(names)) < len(names)


def _check_validation(config: SuiteConfig, instance: Instance) -> None:
    splits = [split_name(generalisation, "val") for generalisation in config.generalisations]
    asked = [{pair.attribute for pair in instance.pairs(split)} for split in splits]
    for attribute in config.attributes or ():
        if not any(attribute in found and len(found) > 1 for found in asked):
            raise SuiteError(
                expected=f"cause and isolate pairs of {attribute!r} in one of {', '.join(splits)}, "
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
    seeds = config.seeds if method.draws else config.seeds[:1]
    for attribute in _targets(method, config):
        for site in sites:
            for size in _sizes(spec, method, config, site, target):
                for seed in seeds:
                    cell_id = _cell_id(
                        {
                            "suite_schema": SUITE_SCHEMA_VERSION,
                            "method": spec.name,
                            "config": spec.config,
                            "attribute": attribute or "*",
                            "site": str(site),
                            "size": "*" if size is None else size,
                            "seed": seed,
                            "label_tokens": config.label_tokens,
                            "tolerance": config.tolerance,
                            "model_fingerprint": target.fingerprint,
                            "instance_fingerprint": instance.fingerprint,
                        }
                    )
                    yield Cell(cell_id, spec.name, setting, attribute, site, size, seed)


def control_cell(cell: Cell, control: str) -> Cell:
    """Return the cell of a control on a cell of the grid, with an id of its own that follows from the
    latter's, which holds the seed."""
    parts = {"control_schema": CONTROL_SCHEMA_VERSION, "control": control, "controlled": cell.cell_id}
    return replace(cell, cell_id=_cell_id(parts), control=control)


def _cell_id(parts: dict[str, Any]) -> str:
    return sha256_text(canonical_json(parts))[:16]


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


def _resolved_method(spec: MethodSpec, methods: Registry[type[Method]]) -> MethodSpec:
    config_class: type[MethodConfig] = methods.get(spec.name).config_class
    config = config_class.from_mapping(spec.config, origin=f"the suite's settings of method {spec.name!r}")
    sizes = None if spec.sizes is None else _unique(spec.sizes)
    return MethodSpec(name=spec.name, config=config.model_dump(mode="json"), sizes=sizes)


def _attributes(config: SuiteConfig, instance: PlannedOn) -> tuple[str, ...]:
    wanted = instance.attributes if config.attributes is None else _unique(config.attributes)
    for attribute in wanted:
        if attribute not in instance.attributes:
            raise unknown_name(
                f"attribute of this {instance.entity_type} instance", attribute, instance.attributes
            )
    if not wanted:
        raise SuiteError(
            expected="at least one target attribute",
            came="none" if config.attributes is not None else "an instance without attributes",
            todo="name attributes in the suite, or build an instance with training and evaluation pairs",
        )
    return wanted


def _controls(names: Sequence[str]) -> tuple[str, ...]:
    """Return the controls by name, in the order of the registry."""
    if ALL_CONTROLS in names:
        return tuple(CONTROLS.names())
    return tuple(sorted({CONTROLS.get(name).name for name in names}))


def _control_methods(
    config: SuiteConfig, listed: Sequence[str], methods: Registry[type[Method]]
) -> tuple[str, ...] | None:
    """Return the controlled methods; what was left open stays open where there are no controls."""
    if config.control_methods is not None:
        for name in config.control_methods:
            if name not in listed:
                raise unknown_name("method of this suite to be controlled", name, listed)
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


def _unique(values: Sequence[Any]) -> tuple[Any, ...]:
    kept: list[Any] = []
    for value in values:
        if value not in kept:
            kept.append(value)
    return tuple(kept)
