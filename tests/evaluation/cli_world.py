"""A miniature model, data it happens to know and an instance, all as folders, for tests of the command line.

A random model knows nothing, so the data is made from its own answers: an entity's value is the first letter
that the model says to one template. Under the lenient matcher that is enough for a build.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from typer.testing import CliRunner, Result

from das.engine import DirectEngine, EngineAnswerer
from das.models import FAMILIES
from das.models.miniature import miniature
from evaluation.cli import app
from ravel.asking.prompts import fill
from ravel.terms.schema import PARTITIONS, Partition, Template

ATTRIBUTES = ("Birthplace", "Profession")
WORDINGS = (
    *(("train", text) for text in ("%s of", "by %s:")),
    *(("val", text) for text in ("for %s,", "at %s of")),
    *(("test", text) for text in ("on %s;", "to %s of", "by %s of")),
)
NAMES = ["".join(letters) for letters in product("BDKMT", "aeiou", "lnrs")]
SITE = "block_output.1@entity_last"
FAST = {"epochs": 1, "batch_size": 16, "validation_pairs": 8}


@dataclass(frozen=True)
class World:
    """Where everything lies."""

    model: Path
    """A Llama miniature."""
    other_model: Path
    """The same shape with other weights."""
    data: Path
    """Facts and templates in the suite's layout."""
    instance: Path
    """Built from `data` for `model`, through the command line."""


def ravel(*args: object) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(app, [str(arg) for arg in args])


def make_world(root: Path) -> World:
    """Write the folders of a world."""
    world = World(root / "model", root / "other_model", root / "data", root / "instance")
    for folder, seed in ((world.model, 0), (world.other_model, 1)):
        target = miniature(FAMILIES.get("llama"), seed=seed)
        target.model.save_pretrained(folder)
        target.tokenizer.save_pretrained(folder)
    write_data(world.data)
    built = ravel(*build_args(world, world.instance))
    assert built.exit_code == 0, built.output
    return world


def build_args(world: World, out: Path) -> list[object]:
    """The arguments of a build that succeeds."""
    return [
        *("build", "--model", world.model, "--entity-type", "invented_person", "--data", world.data),
        *("--match", "reference", "--max-new-tokens", 3, "--train-pairs", 60, "--evaluation-pairs", 24),
        *("--out", out),
    ]


def fit_args(world: World, out: Path, method: str = "no_op") -> list[object]:
    """The arguments of a fit that succeeds."""
    sized = [] if method == "no_op" else ["--attribute", "Birthplace", "--dim", 4]
    return ["fit", method, "--instance", world.instance, "--site", SITE, "--out", out, *sized]


def score_args(world: World, featurizer: Path) -> list[object]:
    """The arguments of a score that succeeds."""
    return ["score", featurizer, "--instance", world.instance, "--split", "context"]


def suite_text(world: World, **changes: object) -> str:
    """A suite of five small cells, as YAML."""
    suite: dict[str, object] = {
        "instance": str(world.instance),
        "model": str(world.model),
        "methods": [{"name": "das", "config": FAST}],
        "sites": [SITE],
        "sizes": [4],
        "seeds": [0],
        "generalisations": ["context", "entity"],
        "resamples": 20,
    }
    # JSON is YAML too.
    return json.dumps({**suite, **changes})


def write_data(folder: Path) -> None:
    """Write facts whose values the first miniature happens to say."""
    answerer = EngineAnswerer(DirectEngine(miniature(FAMILIES.get("llama"), seed=0)))
    said = {
        attribute: answerer.complete([fill(_asking(attribute, 0), name) for name in NAMES], 3)
        for attribute in ATTRIBUTES
    }
    entities = [
        {
            "entity": name,
            "partition": _partition(index),
            "values": {a: (said[a][index].text.strip() or "x")[0] for a in ATTRIBUTES},
        }
        for index, name in enumerate(NAMES)
    ]
    asking = [_asking(a, i) for a in ATTRIBUTES for i in range(len(WORDINGS))]
    free = [Template(f"{partition} text on %s", None, partition) for partition in PARTITIONS]
    templates = [
        {"attribute": t.attribute, "entity": t.entity, "partition": t.partition, "template": t.text}
        for t in [*asking, *free]
    ]
    folder.mkdir()
    write_lines(folder / "entities.jsonl", entities)
    write_lines(folder / "templates.jsonl", templates)


def write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    """Write JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _asking(attribute: str, index: int) -> Template:
    partition, wording = WORDINGS[index]
    return Template(f"{attribute} {wording}", attribute, next(p for p in PARTITIONS if p == partition))


def _partition(index: int) -> Partition:
    return PARTITIONS[(0, 1, 0, 2)[index % 4]]
