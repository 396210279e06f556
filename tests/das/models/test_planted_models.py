"""A planted model: its language, its rotation, the wiring of a hidden pathway, its folder. Barely trained."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from das.engine import DirectEngine
from das.models.planted import PlantedSpec, PlantedTraining, PlantedWorld, load_world, make_world, save_world
from das.models.planted.rotation import random_rotation, rotate
from das.models.planted.spec import planted_spec, planted_specs
from das.models.planted.words import planted_facts, planted_tables, value_words, word_tokenizer
from das.models.planted.world import BUNDLED_WORLD, in_axes
from das.sites import Site
from ravel.asking.prompts import fill
from ravel.common.bundled import bundled_path
from ravel.common.errors import SuiteError
from ravel.terms.schema import SLOT, Prompt

NAMES = sorted(planted_specs())


def barely_trained(name: str, *, rotated: bool = True, seed: int = 0) -> PlantedSpec:
    return planted_spec(name).model_copy(
        update={
            "training": PlantedTraining(steps=4, batch=16),
            "entities": 24,
            "rotated": rotated,
            "seed": seed,
        }
    )


@pytest.fixture(scope="module")
def plain() -> PlantedWorld:
    return make_world(barely_trained("small-disjoint"))


@pytest.fixture(scope="module")
def hidden() -> PlantedWorld:
    """Not rotated, so that coordinates can be looked at."""
    return make_world(barely_trained("small-hidden", rotated=False))


def logits(world: PlantedWorld, ids: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = world.target.model(ids).logits
    return found


def prompts(world: PlantedWorld) -> list[Prompt]:
    return [fill(t, world.tables.entities[3].entity) for t in world.tables.templates]


def vectors(world: PlantedWorld, layer: int) -> Tensor:
    """The vectors at the entity's token after a block, one per template."""
    site = Site.parse(f"block_output.{layer}@entity_last")
    return DirectEngine(world.target).collect(prompts(world), [site])[site]


@pytest.mark.parametrize("name", NAMES)
def test_every_word_is_one_token(name: str) -> None:
    spec = planted_spec(name)
    tables = planted_tables(spec)
    tokenizer = word_tokenizer(spec, tables)
    words = [facts.entity for facts in tables.entities]
    words += [word for attribute in spec.attributes for word in value_words(spec, attribute).values()]
    words += [word for t in tables.templates for word in t.text.replace(SLOT, "").split()]
    ids = tokenizer(words, add_special_tokens=False)["input_ids"]
    assert all(len(row) == 1 and row[0] > 2 for row in ids)
    assert len({word: row[0] for word, row in zip(words, ids, strict=True)}) == len({row[0] for row in ids})


@pytest.mark.parametrize("name", NAMES)
def test_values_are_even_and_follow_from_the_variables(name: str) -> None:
    spec = planted_spec(name)
    names, values = planted_facts(spec)
    assert len(set(names)) == spec.entities
    for variable, column in values.items():
        counts = Counter(column.tolist())
        assert len(counts) == spec.variables[variable].values
        assert max(counts.values()) - min(counts.values()) <= 1
    for index, facts in enumerate(planted_tables(spec).entities):
        for attribute, variables in spec.attributes.items():
            combination = tuple(int(values[v][index]) for v in variables)
            assert dict(facts.values)[attribute] == value_words(spec, attribute)[combination]


def test_all_partitions_have_entities_and_templates() -> None:
    tables = planted_tables(planted_spec("small-disjoint"))
    assert {facts.partition for facts in tables.entities} == {"train", "val", "test"}
    for attribute in (*tables.attributes(), None):
        assert {t.partition for t in tables.templates_for(attribute)} == {"train", "val", "test"}


def test_a_rotation_is_orthogonal_and_its_own_seed() -> None:
    turn = random_rotation(8, 1)
    torch.testing.assert_close(turn @ turn.mT, torch.eye(8, dtype=torch.float64))
    assert torch.equal(turn, random_rotation(8, 1))
    assert not torch.equal(turn, random_rotation(8, 2))


def test_rotating_changes_no_logit_and_turns_every_vector() -> None:
    world = make_world(barely_trained("small-hidden", rotated=False))
    ids = torch.arange(3, 15).reshape(2, 6)
    before, states = logits(world, ids), vectors(world, 1)
    turn = random_rotation(32, 5)
    rotate(world.target.model, turn)
    torch.testing.assert_close(logits(world, ids), before, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(vectors(world, 1), states @ turn.float(), rtol=1e-4, atol=1e-4)


def test_a_world_in_axes_has_its_truth_on_axes() -> None:
    world = make_world(barely_trained("small-disjoint"))
    ids = torch.arange(3, 15).reshape(2, 6)
    before, truth = logits(world, ids), world.truth("Shape")
    states = vectors(world, 1) @ truth.float()
    turned = in_axes(world)
    assert torch.equal(turned.truth("Shape"), torch.eye(32, dtype=torch.float64)[:, [2, 3]])
    torch.testing.assert_close(logits(turned, ids), before, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(vectors(turned, 1)[:, [2, 3]], states, rtol=1e-4, atol=1e-4)


def test_truths_are_orthonormal_and_share_what_the_variables_share() -> None:
    spec = barely_trained("small-overlapping")
    world = PlantedWorld(spec, None, planted_tables(spec), random_rotation(32, 0))  # type: ignore[arg-type]
    clan, rank, shape = world.truth("Clan"), world.truth("Rank"), world.truth("Shape")
    torch.testing.assert_close(clan.mT @ clan, torch.eye(4, dtype=torch.float64))
    cosines = torch.linalg.svdvals(clan.mT @ rank)
    torch.testing.assert_close(
        cosines, torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64), atol=1e-7, rtol=0
    )
    assert float((clan.mT @ shape).abs().max()) < 1e-12


def test_equal_specifications_give_equal_weights(plain: PlantedWorld) -> None:
    state = torch.random.get_rng_state()
    again = make_world(barely_trained("small-disjoint"))
    assert again.target.fingerprint == plain.target.fingerprint
    assert torch.equal(torch.random.get_rng_state(), state)
    other = make_world(barely_trained("small-disjoint", seed=1))
    assert other.target.fingerprint != plain.target.fingerprint


def test_saved_and_loaded_it_is_the_same(plain: PlantedWorld, tmp_path: Path) -> None:
    save_world(plain, tmp_path / "world")
    loaded = load_world(str(tmp_path / "world"))
    assert loaded.spec == plain.spec
    assert loaded.target.fingerprint == plain.target.fingerprint
    assert loaded.tables == plain.tables
    assert torch.equal(loaded.truth("Hue"), plain.truth("Hue"))


def test_a_world_is_never_written_over_files(plain: PlantedWorld, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SuiteError, match="one with files in it"):
        save_world(plain, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("damage", ["absent", "truth", "short", "empty"])
def test_folders_that_hold_no_world(plain: PlantedWorld, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "world"
    if damage != "absent":
        save_world(plain, folder)
    if damage == "truth":
        (folder / "truth.safetensors").unlink()
    if damage == "short":
        (folder / "truth.safetensors").write_bytes(b"\x08")
    if damage == "empty":
        (folder / "planted.yaml").write_text("")
    with pytest.raises(SuiteError):
        load_world(str(folder))


def test_an_impossible_world_is_refused_before_training() -> None:
    spec = barely_trained("small-disjoint").model_copy(update={"layout": "shared"})
    with pytest.raises(SuiteError, match="layout"):
        make_world(spec, lambda done, total: pytest.fail("it was trained"))


class TestHiddenPathway:
    def test_the_dormant_part_is_silent_and_the_echo_exact(self, hidden: PlantedWorld) -> None:
        for layer in (0, 1):
            states = vectors(hidden, layer)
            assert float(states[:, [8, 9]].abs().max()) == 0.0
            torch.testing.assert_close(states[:, [6, 7]], states[:, [0, 1]], rtol=1e-5, atol=1e-6)

    def test_its_units_change_nothing_on_any_text(self, hidden: PlantedWorld) -> None:
        ids = torch.arange(3, 27).reshape(4, 6)
        before = logits(hidden, ids)
        mlp = hidden.target.model.model.layers[2].mlp
        weights = mlp.down_proj.weight.clone()
        mlp.down_proj.weight[:, -4:] = 0
        try:
            assert torch.equal(logits(hidden, ids), before)
        finally:
            mlp.down_proj.weight.copy_(weights)

    def test_the_echo_is_read_by_nothing(self, hidden: PlantedWorld) -> None:
        for block in hidden.target.model.model.layers:
            readers = (block.self_attn.q_proj, block.self_attn.k_proj, block.self_attn.v_proj)
            for module in (*readers, block.mlp.gate_proj, block.mlp.up_proj):
                assert float(module.weight[:, [6, 7]].abs().max()) == 0.0
        assert float(hidden.target.model.lm_head.weight[:, [6, 7]].abs().max()) == 0.0

    def test_a_dormant_coordinate_wakes_its_units(self, hidden: PlantedWorld) -> None:
        mlp = hidden.target.model.model.layers[2].mlp
        quiet = torch.zeros(1, 32)
        for sign in (1.0, -1.0):
            awake = quiet.clone()
            awake[0, 8] = sign * 0.5
            with torch.no_grad():
                change = mlp(awake) - mlp(quiet)
            moved = [c for c in range(32) if abs(float(change[0, c])) > 1e-6]
            assert moved == [0]
            expected = sign * (0.5 - 0.02) * float(mlp.down_proj.weight[0, -4])
            assert float(change[0, 0]) == pytest.approx(expected, rel=1e-5)

    def test_its_subspace_is_orthogonal_to_the_truth(self, hidden: PlantedWorld) -> None:
        found = hidden.illusion()
        assert found is not None
        attribute, columns = found
        assert attribute == "Hue"
        torch.testing.assert_close(columns.mT @ columns, torch.eye(2, dtype=torch.float64))
        assert float((columns.mT @ hidden.truth("Hue")).abs().max()) == 0.0

    def test_other_worlds_have_none(self, plain: PlantedWorld) -> None:
        assert plain.illusion() is None


def test_the_bundled_world_is_small() -> None:
    files = [path for path in bundled_path("planted").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 5_000_000
    assert load_world(BUNDLED_WORLD).spec == planted_spec("small-disjoint")
