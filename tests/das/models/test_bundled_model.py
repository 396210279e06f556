"""What the bundled target model promises: size, tokenizer, knowledge, facts where they are swapped."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from das.engine import EngineAnswerer, make_engine
from das.engine.base.protocol import Engine
from das.methods.common.base import Problem
from das.methods.registry import METHODS
from das.models.load import load_target
from das.sites import Site
from das.training.workspace import SilentWorkspace
from evaluation.config.suite import MethodSpec, SuiteConfig
from evaluation.judging.judge import judge
from evaluation.records.scores import AverageRecord
from evaluation.scoring.interchange.metrics import cause
from evaluation.suite.run import RunRequest, RunSummary, run_suite
from ravel.asking.knowledge import Questioner
from ravel.building import build_instance
from ravel.building.config import BuildConfig
from ravel.common.bundled import bundled_path
from ravel.entity_types import ENTITY_TYPES
from ravel.facts.release import read_release
from ravel.facts.tables import Tables, read_bundled
from ravel.instance import Instance

FOLDER = bundled_path("target_model")
SITE = "block_output.2@entity_last"
LAST = "block_output.4@entity_last"
CLEAR = ("Country", "Continent", "Language", "Timezone")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return make_engine("direct", load_target("bundled"))


def test_it_is_small_and_holds_no_pickle() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 20e6
    assert {path.suffix for path in FOLDER.iterdir()} <= {".safetensors", ".json", ".jsonl", ".md", ".jinja"}


def test_plain_transformers_loads_it() -> None:
    model = AutoModelForCausalLM.from_pretrained(FOLDER)
    assert model.config.model_type == "qwen2"
    assert len(AutoTokenizer.from_pretrained(FOLDER)) == model.config.vocab_size


def test_the_tokenizer_survives_auto_tokenizer() -> None:
    plain = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    auto = AutoTokenizer.from_pretrained(FOLDER)
    ours = load_target("bundled").tokenizer
    texts = [template.text.replace("%s", "Lyon") for template in read_bundled("city").templates]
    texts += [
        f" {facts.entity}, {value}." for facts in read_bundled("city").entities for _, value in facts.values
    ]
    for text in texts:
        assert auto(text)["input_ids"] == plain.encode(text).ids == ours(text)["input_ids"], text


def accuracy(tables: Tables, engine: Engine, every: int) -> dict[str, dict[str, float]]:
    """Return, per entity and attribute, the share of right answers over every n-th template."""
    asking = [t for t in tables.templates if t.attribute is not None]
    answers = Questioner(tables.entity_type, EngineAnswerer(engine), max_new_tokens=6, mode="strict").ask(
        asking[::every], tables.entities
    )
    found: dict[str, dict[str, float]] = {}
    for column, facts in enumerate(answers.entities):
        for attribute in tables.attributes():
            rows = [i for i, t in enumerate(answers.templates) if t.attribute == attribute]
            asked = [answers.right[i, column] for i in rows if answers.asked[i, column]]
            found.setdefault(facts.entity, {})[attribute] = sum(asked) / len(asked)
    return found


def known(found: dict[str, dict[str, float]], count: int) -> dict[str, float]:
    """Return the mean accuracy per attribute over the `count` entities that are known best."""
    best = sorted(found.values(), key=lambda by: -sum(by.values()))[:count]
    return {attribute: sum(by[attribute] for by in best) / count for attribute in best[0]}


@pytest.mark.slow
def test_it_knows_five_hundred_cities(engine: Engine) -> None:
    tables = read_bundled("city")
    tokenizer = engine.target.tokenizer
    short = [f for f in tables.entities if len(tokenizer(" " + f.entity)["input_ids"]) <= 4]
    by_attribute = known(
        accuracy(Tables(tables.entity_type, tuple(short), tables.templates), engine, 15), 500
    )
    assert all(by_attribute[name] >= 0.95 for name in CLEAR), by_attribute
    assert all(by_attribute[name] >= 0.8 for name in ("Latitude", "Longitude")), by_attribute


@pytest.mark.slow
def test_it_knows_the_invented_people(engine: Engine) -> None:
    by_attribute = known(accuracy(read_bundled("invented_person"), engine, 12), 1000)
    assert min(by_attribute.values()) >= 0.9, by_attribute


@pytest.mark.slow
def test_it_answers_the_official_templates(engine: Engine) -> None:
    release = Path(__file__).resolve().parents[4] / "shared" / "ravel"
    if not release.is_dir():
        pytest.skip(f"needs the official release in {release}")
    tables = read_release(release, "city")
    bundled = {facts.entity for facts in read_bundled("city").entities}
    both = tuple(facts for facts in tables.entities if facts.entity in bundled)
    by_attribute = known(accuracy(Tables(ENTITY_TYPES.get("city"), both, tables.templates), engine, 17), 400)
    assert min(by_attribute[name] for name in ("Country", "Continent", "Language")) >= 0.9, by_attribute


def instance_of(entity_type: str, engine: Engine, pairs: int) -> Instance:
    config = BuildConfig(max_entities=300, shortlist=240, train_pairs=pairs, evaluation_pairs=200)
    return build_instance(read_bundled(entity_type), EngineAnswerer(engine), config)


def run(
    instance: Instance, attributes: tuple[str, ...], engine: Engine, out: Path, method: str = "mdas"
) -> RunSummary:
    """Fit a method and the floors at the middle site."""
    suite = SuiteConfig(
        instance="in memory",
        methods=(MethodSpec(name=method),),
        attributes=attributes,
        sites=(SITE,),
        sizes=(32,),
        generalisations=("context", "entity"),
    )
    return run_suite(RunRequest(suite, out, engine=engine, instance=instance))


@pytest.fixture(scope="module")
def cities(engine: Engine) -> Instance:
    return instance_of("city", engine, 1500)


@pytest.fixture(scope="module")
def city(cities: Instance, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    return run(cities, CLEAR, engine, tmp_path_factory.mktemp("city") / "run")


@pytest.fixture(scope="module")
def invented_person(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    instance = instance_of("invented_person", engine, 2000)
    return run(instance, instance.attributes, engine, tmp_path_factory.mktemp("person") / "run")


def macro(summary: RunSummary, method: str) -> dict[str, AverageRecord]:
    """Return the method's test averages over all attributes, by generalisation."""
    return {
        record.generalisation: record
        for record in summary.averages
        if (record.method, record.partition, record.scope, record.source_kind)
        == (method, "test", "macro", "all")
    }


def assert_beats_every_floor(summary: RunSummary) -> None:
    compared = [
        record
        for record in summary.comparisons
        if "mdas" in (record.first, record.second) and record.partition == "test"
    ]
    assert len(compared) == 6
    for record in compared:
        assert record.interval("disentangle") is not None
        low, high = record.interval("disentangle")
        assert low > 0 if record.first == "mdas" else high < 0, record


@pytest.mark.slow
@pytest.mark.long
def test_facts_of_cities_lie_at_the_entitys_last_token(
    cities: Instance, engine: Engine, tmp_path: Path
) -> None:
    floors = run(cities, CLEAR, engine, tmp_path / "run", "full_vector")
    causes = {
        (record.attribute, record.generalisation): record.value("cause")
        for record in floors.scores
        if record.method == "full_vector" and record.partition == "test"
    }
    assert len(causes) == 8
    assert all(cause is not None and cause >= 0.9 for cause in causes.values()), causes


@pytest.mark.slow
@pytest.mark.long
def test_the_last_layer_is_too_late(cities: Instance, engine: Engine) -> None:
    everything = METHODS.get("full_vector")()
    problem = Problem(cities.without_test(), "Country", Site.parse(LAST), engine.target.d_model, seed=0)
    featurizer = everything.fit(problem, engine, SilentWorkspace())
    outcomes = judge(cities, "context_val", engine, Site.parse(LAST), featurizer)
    for attribute in CLEAR:
        value = cause(outcomes, attribute).value
        assert value is not None
        assert value < 0.2


@pytest.mark.slow
@pytest.mark.long
def test_mdas_separates_the_attributes_of_cities(city: RunSummary) -> None:
    for record in macro(city, "mdas").values():
        assert record.value("disentangle") is not None
        assert record.value("disentangle") >= 0.65, record
    assert_beats_every_floor(city)


@pytest.mark.slow
@pytest.mark.long
def test_mdas_separates_the_attributes_of_invented_people(invented_person: RunSummary) -> None:
    for record in macro(invented_person, "mdas").values():
        assert record.value("disentangle") is not None
        assert record.value("disentangle") >= 0.85, record
    assert_beats_every_floor(invented_person)
