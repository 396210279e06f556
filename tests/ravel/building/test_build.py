"""A whole build over a model that answers from a table: partitions, labels, determinism, refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from answering_world import (
    COLOURS,
    SIZES,
    TableAnswerer,
    partition_of,
    pieces,
    town_name,
    town_tables,
)

from ravel.asking.answerer import Decided
from ravel.building import BuildConfig, GuessesError, build_instance
from ravel.building.report import LEAST_ACCURACY, warnings_of
from ravel.common.errors import SuiteError
from ravel.common.io import sha256_text
from ravel.common.progress import Counted, Event
from ravel.facts.tables import Tables
from ravel.instance import ALL_SPLITS, Instance
from ravel.terms.partitions import SPLIT_PLANS
from ravel.terms.schema import SLOT, Completion, EntityFacts, Prompt, Template

SMALL = BuildConfig(train_pairs=120, evaluation_pairs=24, keep_entities=32)


def built(config: BuildConfig = SMALL) -> Instance:
    """Build with the table's own answers."""
    tables = town_tables()
    return build_instance(tables, TableAnswerer(tables), config)


@pytest.fixture(scope="module")
def instance() -> Instance:
    return built()


def test_every_split_has_its_pairs(instance: Instance) -> None:
    assert instance.splits() == list(ALL_SPLITS)
    assert instance.attributes == ("Colour", "Height")
    for name in ALL_SPLITS:
        wanted = 120 if name == "train" else 24
        assert Counter(pair.attribute for pair in instance.pairs(name)) == {
            "Colour": wanted,
            "Height": wanted,
        }


def test_no_prompt_leaves_its_partition(instance: Instance) -> None:
    tables = town_tables()
    of_template = {template.text: template.partition for template in tables.templates}
    of_entity = {facts.entity: facts.partition for facts in tables.entities}
    for plan in SPLIT_PLANS:
        for pair in instance.pairs(plan.name):
            for prompt_id in (pair.base, pair.source, pair.swapped):
                prompt = instance.prompt(prompt_id).prompt
                assert of_template[prompt.template] == plan.templates
                assert of_entity[prompt.entity] == plan.entities


def test_a_pair_is_what_the_model_said(instance: Instance) -> None:
    tables = town_tables()
    for name in ALL_SPLITS:
        for pair in instance.pairs(name):
            unchanged = dict(tables.facts(pair.base_entity).values)[pair.attribute]
            swapped = dict(tables.facts(pair.source_entity).values)[pair.attribute]
            assert (pair.if_unchanged, pair.if_swapped) == (f" {unchanged}", f" {swapped}")
            assert unchanged != swapped


def test_label_tokens_spell_the_label(instance: Instance) -> None:
    answerer = TableAnswerer(town_tables())
    for record in instance.prompts():
        if record.prompt.attribute is not None:
            assert answerer.decode(record.label_ids).startswith(record.label)
            assert len(record.label_ids) == len(pieces(record.label.rstrip()[: len(record.label)])) - 1
            assert record.correct is True


def test_a_text_of_one_town_is_a_source_for_that_town_only(instance: Instance) -> None:
    bound = [r.prompt for r in instance.prompts() if r.prompt.template.startswith("Once upon a time")]
    assert {prompt.entity for prompt in bound} <= {town_name(0)}
    assert partition_of(0) == "train"


def test_kinds_and_templates_are_even(instance: Instance) -> None:
    for name in ALL_SPLITS:
        kinds = Counter(pair.source_kind for pair in instance.pairs(name))
        assert max(kinds.values()) - min(kinds.values()) <= 8
        for attribute in instance.attributes:
            used = Counter(p.base_template for p in instance.pairs(name) if p.attribute == attribute)
            assert max(used.values()) - min(used.values()) <= 1


def test_texts_without_attribute_are_not_completed_and_have_no_label() -> None:
    tables = town_tables()
    answerer = TableAnswerer(tables)
    instance = build_instance(tables, answerer, SMALL)
    assert all(text.startswith(("Colour", "Height")) for text in answerer.calls)
    free = [r for r in instance.prompts() if r.prompt.attribute is None]
    assert free
    assert {(r.label, r.label_ids, r.correct) for r in free} == {("", (), None)}


@pytest.mark.parametrize("shortlist", [None, 24])
@pytest.mark.parametrize("selection", ["reference", "staged", "threshold"])
def test_nothing_is_asked_twice_but_the_sample_that_is_asked_alone(
    selection: str, shortlist: int | None
) -> None:
    tables = town_tables()
    answerer = TableAnswerer(tables)
    config = SMALL.model_copy(
        update={"selection": selection, "shortlist": shortlist, "keep_entities": 12, "keep_templates": 3}
    )
    instance = build_instance(tables, answerer, config)
    alone = config.flip_sample
    assert len(set(answerer.calls)) == len(answerer.calls) - alone
    assert set(answerer.went_on) <= set(answerer.calls)
    assert len(set(answerer.went_on)) == len(answerer.went_on)
    used = [r.prompt.text for r in instance.prompts() if r.prompt.attribute is not None]
    assert set(used) <= set(answerer.calls)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(instance: Instance) -> None:
    assert built().manifest == instance.manifest
    assert built(SMALL.model_copy(update={"seed": 1})).fingerprint != instance.fingerprint


def test_hash_seeds_change_nothing(instance: Instance) -> None:
    program = "import test_build; print(test_build.built().fingerprint)"
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == instance.fingerprint


def test_wrong_answers_stay_as_labels_but_rank_lower() -> None:
    tables = town_tables()
    odd = town_name(4)

    def say(prompt: Prompt, said: str) -> str:
        return " purple. So" if prompt.entity == odd and prompt.attribute == "Colour" else said

    everyone = build_instance(
        tables, TableAnswerer(tables, say), BuildConfig(**{**SMALL.model_dump(), "keep_entities": 40})
    )
    records = [r for r in everyone.prompts() if r.prompt.entity == odd and r.prompt.attribute == "Colour"]
    assert records
    assert {(record.label, record.correct) for record in records} == {(" purple", False)}
    fewer = build_instance(tables, TableAnswerer(tables, say), SMALL)
    assert odd not in fewer.manifest.entities["train"]


def test_held_out_partitions_keep_their_share(instance: Instance) -> None:
    kept = {name: len(found) for name, found in instance.manifest.entities.items()}
    assert kept == {"train": 16, "val": 8, "test": 8}
    templates = Counter((t["attribute"], t["partition"]) for t in instance.manifest.templates)
    for attribute in ("Colour", "Height"):
        assert [templates[attribute, p] for p in ("train", "val", "test")] == [4, 2, 2]


def test_the_threshold_keeps_what_is_known() -> None:
    tables = town_tables()

    def say(prompt: Prompt, said: str) -> str:
        return " nothing" if prompt.template.startswith("Colour no 2") else said

    config = BuildConfig(**{**SMALL.model_dump(), "selection": "threshold", "accuracy_threshold": 0.9})
    instance = build_instance(tables, TableAnswerer(tables, say), config)
    kept = {row["template"] for row in instance.manifest.templates}
    assert f"Colour no 2: {SLOT} is" not in kept
    assert f"Colour no 3: {SLOT} is" in kept
    assert sum(map(len, instance.manifest.entities.values())) == 40


def test_counts_say_what_was_left_out() -> None:
    tables = town_tables()
    glued = Template(f"Colour of {SLOT}s is", "Colour", "train")
    silent = tables.entities[4].entity

    def say(prompt: Prompt, said: str) -> str:
        return '", ' if prompt.entity == silent and prompt.attribute == "Height" else said

    with_glued = Tables(tables.entity_type, tables.entities, (glued, *tables.templates))
    config = BuildConfig(**{**SMALL.model_dump(), "keep_entities": 40})
    counts = build_instance(with_glued, TableAnswerer(tables, say), config).manifest.counts
    assert counts["templates_with_glued_letters"] == [glued.text]
    assert counts["prompts"]["dropped_without_label"] == 8
    assert counts["prompts"]["dropped_without_position"] == 0
    assert counts["entities"]["train"] == {"in_tables": 20, "candidates": 20, "kept": 20}
    assert sum(counts["pairs"]["train"]["Colour"].values()) == 120


def test_an_entity_that_a_token_runs_past_is_left_out_and_counted() -> None:
    class Joining(TableAnswerer):
        """Joins the blank and word after the town of number 4 to its last token."""

        def offsets(self, texts: list[str]) -> list[list[tuple[int, int]]]:  # type: ignore[override]
            found = super().offsets(texts)
            for text, row in zip(texts, found, strict=True):
                if (at := text.find(town_name(4) + " is")) >= 0:
                    end = at + len(town_name(4))
                    row[:] = [(a, b + 3 if b == end else b) for a, b in row if a != end]
            return found

    tables = town_tables()
    config = BuildConfig(**{**SMALL.model_dump(), "keep_entities": 40})
    instance = build_instance(tables, Joining(tables), config)
    assert instance.manifest.counts["prompts"]["dropped_without_position"] == 16
    asked = [r.prompt.entity for r in instance.prompts() if r.prompt.attribute is not None]
    assert town_name(4) not in asked


def test_a_subset_of_attributes_and_entities() -> None:
    config = BuildConfig(**{**SMALL.model_dump(), "attributes": ["Colour"], "max_entities": 8})
    instance = built(config)
    assert instance.attributes == ("Colour",)
    assert {pair.source_kind for pair in instance.pairs("train")} == {"same_attribute", "attribute_free"}
    assert instance.manifest.counts["entities"]["val"] == {"in_tables": 10, "candidates": 8, "kept": 8}


def test_a_shortlist_spares_the_questions_about_unknown_entities() -> None:
    tables = town_tables()
    unknown, asked = town_name(4), []

    def say(prompt: Prompt, said: str) -> str:
        asked.append((prompt.entity, prompt.template))
        return " no idea" if prompt.entity == unknown else said

    config = BuildConfig(**{**SMALL.model_dump(), "shortlist": 36})
    instance = build_instance(tables, TableAnswerer(tables, say), config)
    assert len([template for entity, template in asked if entity == unknown]) == len(instance.attributes)
    assert all(unknown not in found for found in instance.manifest.entities.values())
    assert instance.manifest.counts["entities"]["val"] == {"in_tables": 10, "candidates": 9, "kept": 8}


def test_progress_reaches_its_totals() -> None:
    last: dict[str, tuple[int, int]] = {}

    def note(event: Event) -> None:
        assert isinstance(event, Counted)
        last[event.stage] = (event.done, event.total)

    tables = town_tables()
    build_instance(tables, TableAnswerer(tables), SMALL, note)
    assert all(done == total for done, total in last.values())
    assert next(iter(last)) == "answers"


def test_a_model_that_knows_nothing_is_refused_with_counts() -> None:
    tables = town_tables()
    ignorant = TableAnswerer(tables, lambda prompt, said: " no idea.")
    with pytest.raises(SuiteError, match=r"40 of 40 entities and 16 of 16 templates failed") as caught:
        build_instance(tables, ignorant, SMALL)
    assert "Colour 0 of 280 right, Height 0 of 280 right" in str(caught.value)


def test_a_shortlist_of_nobody_says_how_many_failed() -> None:
    tables = town_tables()
    ignorant = TableAnswerer(tables, lambda prompt, said: " no idea.")
    config = SMALL.model_copy(update={"shortlist": 12})
    with pytest.raises(SuiteError, match="40 of 40 entities and 0 of 2 templates failed"):
        build_instance(tables, ignorant, config)


def test_a_model_that_always_says_the_same_is_refused() -> None:
    tables = town_tables()
    monotonous = TableAnswerer(tables, lambda prompt, said: f" {COLOURS[0]}.")
    with pytest.raises(GuessesError, match=r"Colour 30.0% right about the entity asked about, \d+"):
        build_instance(tables, monotonous, SMALL)
    allowed = SMALL.model_copy(update={"allow_ignorance": True})
    with pytest.raises(SuiteError, match=r"got train 0, context_val 0.* from \d+ kept entities"):
        build_instance(tables, monotonous, allowed)


def test_an_unknown_attribute_is_refused() -> None:
    with pytest.raises(SuiteError, match=r"'Color'.*did you mean 'Colour'"):
        built(BuildConfig(attributes=("Color",)))
    with pytest.raises(
        SuiteError, match=r"a known attribute of town with templates and values; got 'Unasked'"
    ):
        built(BuildConfig(attributes=("Unasked",)))


def test_entities_without_any_value_are_refused_by_the_filter() -> None:
    tables = town_tables()
    blank = tuple(EntityFacts(facts.entity, facts.partition, ()) for facts in tables.entities)
    nothing = Tables(tables.entity_type, blank, tables.templates)
    with pytest.raises(SuiteError, match=r"a known attribute|nothing was asked"):
        build_instance(nothing, TableAnswerer(nothing), SMALL)


def test_the_config_survives_yaml_and_refuses_nonsense() -> None:
    assert BuildConfig.from_yaml(SMALL.to_yaml()) == SMALL
    with pytest.raises(SuiteError, match=r"'keep_entites'.*did you mean 'keep_entities'"):
        BuildConfig.from_yaml("keep_entites: 3")
    with pytest.raises(SuiteError, match=r"at least one share must be above 0"):
        BuildConfig.from_yaml("source_shares: {same_attribute: 0, other_attribute: 0, attribute_free: 0}")


@pytest.mark.parametrize("kept", [4, 32])
@pytest.mark.parametrize("selection", ["reference", "threshold"])
def test_early_stops_leave_no_trace_in_the_files(kept: int, selection: str, tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"keep_entities": kept, "keep_templates": 3, "selection": selection})
    tables = town_tables(120)
    for name, deaf in (("early", False), ("late", True)):
        build_instance(tables, TableAnswerer(tables, deaf=deaf), config).save(tmp_path / name)
    early = {path.name: path.read_bytes() for path in (tmp_path / "early").rglob("*") if path.is_file()}
    late = {path.name: path.read_bytes() for path in (tmp_path / "late").rglob("*") if path.is_file()}
    assert early == late


EVERYTHING = SMALL.model_copy(update={"keep_entities": 40})


def test_a_sound_build_has_no_warning_and_no_flips(instance: Instance) -> None:
    assert instance.manifest.knowledge["kept_accuracy"] == 1
    assert instance.manifest.knowledge["warnings"] == []
    assert instance.manifest.counts["label_flips"] == {"asked": 32, "differ": 0}


def in_eights(right: int) -> TableAnswerer:
    """Return a model that says the truth in so many of eight cells, and elsewhere what no town has."""
    tables = town_tables()
    places = {facts.entity: place for place, facts in enumerate(tables.entities)}

    def say(prompt: Prompt, said: str) -> str:
        if prompt.attribute is None:
            return said
        number = int(prompt.template.split(" no ")[1].split(":")[0])
        return said if (places[prompt.entity] // 4 + number) % 8 < right else " the world."

    return TableAnswerer(tables, say)


def test_guesses_are_refused() -> None:
    with pytest.raises(SuiteError, match="kept answers at least 30% are right") as caught:
        build_instance(town_tables(), in_eights(1), EVERYTHING)
    assert "--allow-ignorance" in str(caught.value)
    allowed = EVERYTHING.model_copy(update={"allow_ignorance": True})
    manifest = build_instance(town_tables(), in_eights(1), allowed).manifest
    assert manifest.knowledge["kept_accuracy"] < 0.3
    assert "knows little" in manifest.knowledge["warnings"][0]


def test_little_knowledge_is_said_and_what_wrong_labels_mean() -> None:
    manifest = build_instance(town_tables(), in_eights(4), EVERYTHING).manifest
    assert 0.3 <= manifest.knowledge["kept_accuracy"] < 0.8
    (warning,) = manifest.knowledge["warnings"]
    for said in ("knows little", "Colour 50.", "Height 50.", "a wrong answer is a label too"):
        assert said in warning


def test_one_attribute_of_which_little_is_known_is_named() -> None:
    little, tables = in_eights(5), town_tables()

    def say(prompt: Prompt, said: str) -> str:
        return said if prompt.attribute != "Height" else little._say(prompt, said)  # type: ignore[misc]

    config = EVERYTHING.model_copy(update={"keep_templates": 4})
    manifest = build_instance(tables, TableAnswerer(tables, say), config).manifest
    (warning,) = manifest.knowledge["warnings"]
    assert warning.startswith("the model knows little of Height")


def test_what_came_out_empty_is_named_however_much_is_known(instance: Instance) -> None:
    drawn = {split: instance.pairs(split) for split in instance.splits()}
    accuracies: dict[str, float | None] = {"Colour": 1.0, "Height": 1.0}
    flips = {"asked": 1, "differ": 0}
    assert warnings_of(accuracies, 1.0, {}, drawn, flips) == []
    colours = {s: tuple(p for p in found if p.attribute == "Colour") for s, found in drawn.items()}
    said = warnings_of(accuracies, 1.0, {}, {**colours, "context_test": ()}, flips)
    assert said == ["attributes without a single pair: Height", "splits without a single pair: context_test"]


def lucky(prompt: Prompt, said: str) -> str:
    """Say one of the right kind of values, whatever the town."""
    values = COLOURS if prompt.attribute == "Colour" else SIZES
    return f" {values[int(sha256_text(prompt.text)[:8], 16) % 4]}. So it is"


def test_lucky_guesses_are_refused_however_many_of_the_kept_ones_are_right() -> None:
    tables = town_tables(200)
    few = SMALL.model_copy(update={"keep_entities": 16, "keep_templates": 3})
    with pytest.raises(GuessesError, match=r"right about the entity asked about, .*about another"):
        build_instance(tables, TableAnswerer(tables, lucky), few)
    allowed = few.model_copy(update={"allow_ignorance": True})
    manifest = build_instance(tables, TableAnswerer(tables, lucky), allowed).manifest
    assert manifest.knowledge["kept_accuracy"] > LEAST_ACCURACY
    assert any("does more than guess" in warning for warning in manifest.knowledge["warnings"])


class Moody(TableAnswerer):
    """Answers otherwise when a prompt comes alone."""

    def complete(
        self, prompts: Sequence[Prompt], max_new_tokens: int, decided: Decided | None = None
    ) -> list[Completion]:
        self._say = (lambda prompt, said: " Alone.") if len(prompts) == 1 else None
        return super().complete(prompts, max_new_tokens, decided)


def test_labels_that_depend_on_the_batch_are_counted() -> None:
    tables = town_tables()
    manifest = build_instance(tables, Moody(tables), SMALL).manifest
    assert manifest.counts["label_flips"] == {"asked": 32, "differ": 32}
    assert any("depend on the batch" in warning for warning in manifest.knowledge["warnings"])
