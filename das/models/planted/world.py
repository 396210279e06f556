"""A planted world: target model, tables, truth; made, saved, loaded. It fits and scores nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from das.models.base import TargetModel
from das.models.load import load_target, target_from
from das.models.planted.rotation import random_rotation, rotate
from das.models.planted.spec import PlantedSpec, check_spec
from das.models.planted.training import train_planted
from das.models.planted.words import planted_tables, word_tokenizer
from das.tensor_files import TensorFileError, parse_tensors
from ravel.common.bundled import bundled_path
from ravel.common.errors import SuiteError
from ravel.common.folders import check_new_folder, new_folder
from ravel.common.io import read_bytes, write_text
from ravel.common.seeds import derive_seed
from ravel.facts.tables import Tables, write_tables

__all__ = [
    "BUNDLED_WORLD",
    "PlantedWorld",
    "load_world",
    "make_world",
    "make_world_folder",
    "planted_tables",
    "save_world",
]

BUNDLED_WORLD = "bundled"
"""The name that stands for the planted world shipped with the suite."""
_SPEC = "planted.yaml"
_TRUTH = "truth.safetensors"
_ROTATION = "rotation"

Report = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    return None


@dataclass(frozen=True, slots=True)
class PlantedWorld:
    """A model whose variables stand in known coordinates, and its facts."""

    spec: PlantedSpec
    """What was planted."""
    target: TargetModel
    """The model; a causal language model like any other."""
    tables: Tables
    """Its entities, values and templates."""
    rotation: Tensor
    """Turns the planted coordinates into the model's, [width, width] in float64; the unit matrix for none."""

    def truth(self, attribute: str) -> Tensor:
        """Return orthonormal columns that span the attribute's true subspace after every planted layer,
        [width, k] in float64. Raises SuiteError for an unknown attribute."""
        return self._columns(self.spec.coordinates(attribute))

    def truths(self) -> Mapping[str, Tensor]:
        """Return the truth of every attribute."""
        return {attribute: self.truth(attribute) for attribute in self.spec.attributes}

    def illusion(self) -> tuple[str, Tensor] | None:
        """Return an attribute with the subspace through which its hidden pathway is taken, [width, k]; None
        in a world without one.

        Its columns lie halfway between the echo, which varies with the attribute and is never read, and the
        dormant part, which is read and never varies. It is orthogonal to the truth. METHODS: Makelov et al.
        2023, arXiv 2311.17030.
        """
        pathway = self.spec.hidden_pathway
        if pathway is None:
            return None
        owner = next(a for a, names in self.spec.attributes.items() if names == (pathway.variable,))
        columns = self._columns(pathway.echo) + self._columns(pathway.dormant)
        return owner, columns / 2**0.5

    def _columns(self, coordinates: tuple[int, ...]) -> Tensor:
        return self.rotation[list(coordinates)].mT.contiguous()


def make_world(spec: PlantedSpec, report: Report = _silent) -> PlantedWorld:
    """Train the world's model; `report` is called with steps done and in all. Equal specifications give equal
    weights on one machine and number of threads. Raises SuiteError for one that can't hold."""
    check_spec(spec)
    tables = planted_tables(spec)
    tokenizer = word_tokenizer(spec, tables)
    model = train_planted(spec, tables, tokenizer, report)
    turn = torch.eye(spec.width, dtype=torch.float64)
    if spec.rotated:
        turn = random_rotation(spec.width, derive_seed(spec.seed, "planted", "rotation", spec.name))
        rotate(model, turn)
    return PlantedWorld(spec, target_from(model, tokenizer, spec.name), tables, turn)


def make_world_folder(spec: PlantedSpec, folder: Path, report: Report = _silent) -> PlantedWorld:
    """Train the world's model and save the world in a new folder, which is checked before any training.
    Raises SuiteError as `make_world` and `save_world` do."""
    check_spec(spec)
    check_new_folder(folder)
    world = make_world(spec, report)
    save_world(world, folder)
    return world


def in_axes(world: PlantedWorld) -> PlantedWorld:
    """Return the world with its rotation undone, so that each variable stands on axes of the vector. The
    model is changed in place."""
    rotate(world.target.model, world.rotation.mT)
    target = target_from(world.target.model, world.target.tokenizer, f"{world.target.name}, not rotated")
    spec = world.spec.model_copy(update={"rotated": False})
    return replace(world, spec=spec, target=target, rotation=torch.eye(spec.width, dtype=torch.float64))


def save_world(world: PlantedWorld, folder: Path) -> None:
    """Write the world as a model's folder that `from_pretrained` reads, with facts and truth beside it.
    Wholly or not at all; raises SuiteError if `folder` is there already with files in it."""
    with new_folder(folder) as staging:
        world.target.model.save_pretrained(staging)
        world.target.tokenizer.save_pretrained(staging)
        write_text(staging / _SPEC, world.spec.to_yaml())
        save_file({_ROTATION: world.rotation.contiguous()}, staging / _TRUTH)
        write_tables(world.tables, staging)


def load_world(name_or_folder: str, *, device: str = "cpu") -> PlantedWorld:
    """Load a saved world, or the one called `bundled`. Raises SuiteError for a folder that holds none."""
    folder = bundled_path("planted") if name_or_folder == BUNDLED_WORLD else Path(name_or_folder)
    if not (folder / _SPEC).is_file() or not (folder / _TRUTH).is_file():
        raise SuiteError(
            expected=f"a planted world at {folder}",
            came=f"a folder without {_SPEC} and {_TRUTH}" if folder.is_dir() else "no folder there",
            todo="make one with ravel planted make NAME --out FOLDER",
        )
    spec = PlantedSpec.from_file(folder / _SPEC)
    check_spec(spec)
    return PlantedWorld(
        spec, load_target(str(folder), device=device), planted_tables(spec), _rotation(folder, spec)
    )


def _rotation(folder: Path, spec: PlantedSpec) -> Tensor:
    try:
        turn = parse_tensors(read_bytes(folder / _TRUTH))[_ROTATION]
    except (TensorFileError, KeyError) as error:
        raise SuiteError(
            expected=f"the rotation in {folder / _TRUTH}", came=str(error), todo="make the world again"
        ) from None
    if turn.shape != (spec.width, spec.width) or not bool(torch.isfinite(turn).all()):
        raise SuiteError(
            expected=f"a rotation of {spec.width} coordinates in {folder / _TRUTH}",
            came=f"a tensor of shape {tuple(turn.shape)}",
            todo="make the world again",
        )
    wide: Tensor = turn.double()
    return wide
