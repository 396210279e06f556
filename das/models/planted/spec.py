"""What is planted where: hidden variables, their coordinates, the attributes they fix; no weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from ravel.common.config import Config
from ravel.common.errors import SuiteError, one_of
from ravel.common.strict_yaml import parse_yaml

Layout = Literal["disjoint", "shared", "overlapping"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Coordinate = Annotated[int, Field(ge=0)]


class Variable(Config):
    """A hidden variable of every entity and the coordinates of the vector that hold it, and only it."""

    values: Annotated[int, Field(ge=2)]
    """Number of values it takes."""
    coordinates: tuple[Coordinate, ...]
    """Its block, before the rotation; a block no larger than `values - 1` can be filled by the codes."""


class HiddenPathway(Config):
    """A route from a vector to an answer that no natural text takes, and a copy of an attribute that nothing
    reads (Makelov et al. 2023, arXiv 2311.17030: a dormant and a causally disconnected part)."""

    variable: str
    """The variable that is copied."""
    echo: tuple[Coordinate, ...]
    """Coordinates that hold an exact copy of the variable's block; no weight reads them."""
    dormant: tuple[Coordinate, ...]
    """Coordinates that are 0 on every text; only the hidden units read them, and write the variable's
    block."""
    threshold: Positive = 0.02
    """What a dormant coordinate must exceed to wake its units, in units of the vector's root mean square."""


class PlantedTraining(Config):
    """How a planted model is trained."""

    steps: PositiveInt = 2400
    """Optimiser steps."""
    batch: PositiveInt = 128
    """Bases per step, and as many sources."""
    lr: Positive = 6e-3
    """Peak learning rate of AdamW; it rises over the first third and falls to nothing."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay."""
    other_spread: Positive = 2.0
    """Standard deviation in every direction that holds no variable; in a block it is 1. What varies there
    punishes a subspace that is a little off, and so makes the truth findable to within degrees."""
    shape_weight: Positive = 1.0
    """Weight of the term that gives all coordinates that covariance."""
    leak_weight: Positive = 5.0
    """Weight of the term that keeps class means of a variable out of all coordinates but its own."""


class PlantedSpec(Config):
    """A world: shape of the model, hidden variables, attributes. `check_spec` says whether it can hold."""

    name: str
    """As on the command line: `small-disjoint`."""
    layout: Layout
    """What the attributes' subspaces share: nothing, everything (two attributes of the same variables) or a
    part."""
    width: PositiveInt
    """d_model."""
    layers: PositiveInt = 4
    """Decoder blocks."""
    heads: PositiveInt = 4
    """Attention heads."""
    inner: PositiveInt
    """Width of each MLP."""
    planted_layers: tuple[Coordinate, ...] = (1, 2)
    """Blocks after which the variables stand in their coordinates, at the entity's last token."""
    variables: dict[str, Variable]
    """The hidden variables, drawn independently for each entity."""
    attributes: dict[str, tuple[str, ...]]
    """Attributes by name, each with the variables that fix its value. Each combination of values is a word of
    its own."""
    entities: Annotated[int, Field(ge=8)] = 256
    """Invented entities: half of them train, a fifth val, the rest test."""
    rotated: bool = True
    """Whether a random rotation hides the coordinates."""
    hidden_pathway: HiddenPathway | None = None
    """A dormant pathway, if there is to be one."""
    training: PlantedTraining = PlantedTraining()
    """How the model is trained."""
    seed: int = 0
    """Root of every random stream: facts, names, weights, batches, rotation."""

    def coordinates(self, attribute: str) -> tuple[int, ...]:
        """Return the coordinates that hold an attribute, sorted. Raises SuiteError with near misses."""
        one_of(f"attribute of the world {self.name}", attribute, self.attributes)
        owned = (self.variables[name].coordinates for name in self.attributes[attribute])
        return tuple(sorted(coordinate for block in owned for coordinate in block))

    def other_coordinates(self) -> tuple[int, ...]:
        """Return the coordinates that hold no variable and take no part in a hidden pathway."""
        taken = {c for _, block in _blocks(self) for c in block}
        return tuple(c for c in range(self.width) if c not in taken)


def check_spec(spec: PlantedSpec) -> None:
    """Raise SuiteError for what can't be planted: blocks outside the width or on top of each other,
    attributes of unknown variables, a layout that is not the declared one, layers that the model has not."""
    _check_shape(spec)
    _check_variables(spec)
    _check_blocks(spec)
    _check_layout(spec)


def _check_shape(spec: PlantedSpec) -> None:
    if spec.width % spec.heads or (spec.width // spec.heads) % 2:
        raise _refused(
            spec,
            "a width of an even number of coordinates for each head",
            f"width {spec.width} and {spec.heads} heads",
            "change width or heads",
        )
    last = spec.layers - 2
    if not spec.planted_layers or max(spec.planted_layers) > last:
        raise _refused(
            spec,
            f"planted layers from 0 to {last}, so that a block above can still read the entity's token",
            f"{list(spec.planted_layers)}",
            "choose lower layers, or add layers",
        )


def _check_variables(spec: PlantedSpec) -> None:
    if not spec.attributes:
        raise _refused(spec, "at least one attribute", "none", "add one")
    for attribute, names in spec.attributes.items():
        unknown = [name for name in names if name not in spec.variables]
        if unknown or not names:
            raise _refused(
                spec,
                f"variables of the world ({', '.join(spec.variables)}) for attribute {attribute!r}",
                ", ".join(map(repr, unknown)) or "none at all",
                "declare the variable, or take it out",
            )
    pathway = spec.hidden_pathway
    if pathway is not None:
        one_of(f"variable of the world {spec.name}", pathway.variable, spec.variables)


def _blocks(spec: PlantedSpec) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, variable in spec.variables.items():
        yield f"variable {name}", variable.coordinates
    if spec.hidden_pathway is not None:
        yield "the pathway's echo", spec.hidden_pathway.echo
        yield "the pathway's dormant part", spec.hidden_pathway.dormant


def _check_blocks(spec: PlantedSpec) -> None:
    for name, variable in spec.variables.items():
        if not 1 <= len(set(variable.coordinates)) == len(variable.coordinates) <= variable.values - 1:
            raise _refused(
                spec,
                f"from 1 to {variable.values - 1} different coordinates for variable {name!r}, "
                f"since {variable.values} codes span no more",
                f"{list(variable.coordinates)}",
                "change its coordinates, or give it more values",
            )
    needed = sum(len(block) for _, block in _blocks(spec))
    outside = sorted({c for _, block in _blocks(spec) for c in block if c >= spec.width})
    if outside or needed > spec.width:
        raise _refused(
            spec,
            f"at most {spec.width} coordinates, numbered from 0, for that is the model's width",
            f"{needed} coordinates in blocks" + (f", among them {outside}" if outside else ""),
            "make the model wider or the blocks smaller",
        )
    for (first, ours), (second, theirs) in combinations(_blocks(spec), 2):
        if both := sorted(set(ours) & set(theirs)):
            raise _refused(
                spec,
                "a block of its own for each variable: attributes share by sharing a variable",
                f"coordinates {both} in {first} and in {second}",
                "move one of the blocks, or let attributes share a variable and declare that layout",
            )
    pathway = spec.hidden_pathway
    if pathway is not None:
        size = len(spec.variables[pathway.variable].coordinates)
        if not len(pathway.echo) == len(pathway.dormant) == size:
            raise _refused(
                spec,
                f"{size} coordinates each for the pathway's echo and its dormant part",
                f"{len(pathway.echo)} and {len(pathway.dormant)}",
                "give each as many as the variable has",
            )


def _check_layout(spec: PlantedSpec) -> None:
    layout = _layout_of(spec)
    if layout != spec.layout:
        shared = [
            f"{a} and {b} share coordinates {both}"
            for a, b in combinations(spec.attributes, 2)
            if (both := sorted(set(spec.coordinates(a)) & set(spec.coordinates(b))))
        ]
        raise _refused(
            spec,
            f"subspaces that are {spec.layout}, as the layout declares",
            f"{layout} ones: " + ("; ".join(shared) or "no two attributes share a coordinate"),
            f"declare layout: {layout}, or change what the attributes depend on",
        )


def _layout_of(spec: PlantedSpec) -> Layout:
    sets = [set(spec.coordinates(attribute)) for attribute in spec.attributes]
    common = [(a, b) for a, b in combinations(sets, 2) if a & b]
    if not common:
        return "disjoint"
    return "shared" if all(a == b for a, b in common) else "overlapping"


def _refused(spec: PlantedSpec, expected: str, came: str, todo: str) -> SuiteError:
    return SuiteError(expected=f"in the planted world {spec.name!r}, {expected}", came=came, todo=todo)


@cache
def planted_specs() -> Mapping[str, PlantedSpec]:
    """Return the worlds that the suite knows by name; each passes `check_spec`."""
    file = files("das.models.planted") / "worlds.yaml"
    worlds = parse_yaml(file.read_text(encoding="utf-8"))
    return MappingProxyType(
        {
            name: PlantedSpec.from_mapping({"name": name, **settings}, origin=file.name)
            for name, settings in worlds.items()
        }
    )


def planted_spec(name: str) -> PlantedSpec:
    """Return a known world. Raises SuiteError with near misses."""
    return planted_specs()[one_of("planted world", name, planted_specs())]


def open_spec(name_or_file: str, *, seed: int | None = None, rotated: bool | None = None) -> PlantedSpec:
    """Return the world of this name, or of a YAML file; what is given takes the place of its own settings.
    Raises SuiteError for an unknown name, a bad file, and a specification that can't hold."""
    path = Path(name_or_file)
    is_file = path.suffix in (".yaml", ".yml")
    spec = PlantedSpec.from_file(path) if is_file else planted_spec(name_or_file)
    changes = {name: value for name, value in (("seed", seed), ("rotated", rotated)) if value is not None}
    spec = spec.model_copy(update=changes)
    check_spec(spec)
    return spec
