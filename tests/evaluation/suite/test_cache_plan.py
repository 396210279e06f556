"""The plan of what is kept: counted on an instance, estimated for presets, printed before anything runs; the
flags that bound it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_world import SITE, World, fit_args, ravel, score_args, suite_text
from transformers import AutoTokenizer

from das.engine.base.batch import PromptEncoder
from das.sites import Position
from evaluation.config.preset import preset_named
from evaluation.config.suite import SuiteConfig
from evaluation.config.target import TargetConfig
from evaluation.suite.forecast.cache import count_states, estimate_states
from evaluation.suite.forecast.plan import plan_preset
from ravel.building import BuildConfig
from ravel.common.errors import SuiteError
from ravel.common.sizes import parse_bytes
from ravel.instance import Instance


def suite(world: World, **changes: object) -> SuiteConfig:
    return SuiteConfig.from_yaml(suite_text(world, **changes))


# --- counting


@pytest.mark.parametrize("position", ["entity_last", "prompt_last"])
def test_states_are_counted_one_by_one(world: World, position: Position) -> None:
    instance, config = Instance.load(world.instance), suite(world, generalisations=["context"])
    tokenizer = AutoTokenizer.from_pretrained(world.model)
    found = count_states(instance, config, PromptEncoder(tokenizer), [position])[position]
    prefixes: set[tuple[int, ...]] = set()
    suffixes: dict[tuple[object, ...], int] = {}
    sources = set()
    for split in ("train", "context_val", "context_test"):
        for pair in instance.pairs(split):
            prompt = instance.prompt(pair.base).prompt
            table = tokenizer(prompt.text, return_offsets_mapping=True)
            ids, ends = tuple(table["input_ids"]), [end for _, end in table["offset_mapping"]]
            start = len(ids) - 1 if position == "prompt_last" else ends.index(prompt.span[1])
            labels = [instance.prompt(name).label_ids[:3][:-1] for name in (pair.base, pair.swapped)]
            prefixes.add(ids[:start])
            for read in labels if split == "train" else [labels[0] + labels[1]]:
                suffixes[ids + read, start] = len(ids) + len(read) - start
            sources.add(instance.prompt(pair.source).prompt.text)
    assert (found.prefixes, found.prefix_tokens) == (len(prefixes), sum(map(len, prefixes)))
    assert (found.suffixes, found.suffix_tokens) == (len(suffixes), sum(suffixes.values()))
    assert found.sources == len(sources)
    assert 0 < found.prefixes < found.suffixes


def test_what_a_suite_does_not_judge_is_not_counted(world: World) -> None:
    instance, encoder = (
        Instance.load(world.instance),
        PromptEncoder(AutoTokenizer.from_pretrained(world.model)),
    )
    one, two = (
        count_states(instance, suite(world, generalisations=g), encoder, ["entity_last"])["entity_last"]
        for g in (["context"], ["context", "entity"])
    )
    assert one.suffixes < two.suffixes


def test_an_estimate_by_hand() -> None:
    build = BuildConfig(keep_entities=10, keep_templates=3, train_pairs=100, evaluation_pairs=20)
    config = SuiteConfig(instance="", methods=({"name": "das"},), sites=(SITE,), generalisations=("entity",))
    found = estimate_states(build, config, 2, ["entity_last"])["entity_last"]
    # 10 x 3 x 2 prompts at most; 2 x (100 + 2 x 20) pairs.
    assert (found.prefixes, found.prefix_tokens) == (60, 60 * 20)
    assert (found.suffixes, found.suffix_tokens) == (60 + 280, 340 * 12)
    fewer = BuildConfig(keep_entities=100, keep_templates=3, train_pairs=10, evaluation_pairs=1)
    assert estimate_states(fewer, config, 2, ["entity_last"])["entity_last"].prefixes == 2 * 12


# --- printed


def printed(*args: object) -> str:
    done = ravel(*args)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_plan_of_a_7b_model_is_printed_before_anything_is_there(tmp_path: Path) -> None:
    text = printed("run", "--preset", "llama-2-7b-paper", "--plan", "--out", tmp_path / "run")
    assert "28,800 base prompts" in text
    # 20 tokens before the site, 24 blocks above it, keys and values of 4096 numbers of 2 bytes; 12 tokens
    # of 114,816 rows from the site on, 4096 numbers of 2 bytes.
    prefixes, suffixes = 28_800 * 20 * 24 * 2 * 4096 * 2, 114_816 * 12 * 4096 * 2
    assert f"block_output.7@entity_last {(prefixes + suffixes) / 2**30:.1f} GiB" in text
    assert "12.6 GiB of weights" in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "choice"),
    [
        ({"cache_memory": "1TiB"}, "memory"),
        ({"cache_memory": "40GiB"}, "recompute"),
        ({"cache_memory": "40GiB", "cache_folder": "/somewhere"}, "spill"),
    ],
)
def test_the_plan_of_a_preset_follows_the_flags(flags: dict[str, str], choice: str, tmp_path: Path) -> None:
    plan = plan_preset("llama-2-7b-paper", tmp_path / "run", flags)
    assert (plan.cache.choice, plan.cache.budget) == (choice, parse_bytes(flags["cache_memory"]))
    arguments = [part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", value)]
    shown = json.loads(
        printed(
            "run", "--preset", "llama-2-7b-paper", "--plan", "--json", "--out", tmp_path / "r", *arguments
        )
    )
    assert shown["cache"] == plan.cache.to_json()


def test_shared_heads_of_keys_are_planned_as_such(tmp_path: Path) -> None:
    shape = preset_named("llama-3-8b-hyperdas-mdas").shape
    assert (shape.heads, shape.kv_heads) == (32, 8)
    (states,) = plan_preset("llama-3-8b-hyperdas-mdas", tmp_path / "run").cache.states
    assert states.prefixes % (16 * 2 * 8 * 128) == 0


def test_the_plan_of_a_suite_is_counted_on_its_instance(world: World, tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(suite_text(world, cache_memory="64kB"))
    args = ("run", tmp_path / "suite.yaml", "--plan", "--out", tmp_path / "run")
    assert "counted on the instance" in printed(*args)
    shown = json.loads(printed(*args, "--json"))["cache"]
    assert (shown["budget_bytes"], shown["choice"]) == (64_000, "recompute")
    shown = json.loads(printed(*args, "--cache-memory", "1GiB", "--json"))["cache"]
    assert (shown["budget_bytes"], shown["choice"]) == (2**30, "memory")


def test_a_run_says_once_what_it_keeps_and_writes_it_down(world: World, tmp_path: Path) -> None:
    methods = ["no_op"]
    (tmp_path / "suite.yaml").write_text(
        suite_text(world, engine="resume", methods=methods, floors=False, cache_memory="1GiB")
    )
    args = ("run", tmp_path / "suite.yaml", "--out", tmp_path / "run")
    first = ravel(*args)
    assert first.exit_code == 0, first.output
    assert first.stderr.count("To keep every state of base rows takes") == 1
    environments = json.loads((tmp_path / "run/environment.json").read_text())["environments"]
    assert [environment["cache"] for environment in environments] == ["memory"]
    # How much may be kept is no setting of the experiment.
    again = ravel(*args, "--cache-memory", "2GiB", "--cache-folder", tmp_path / "cache")
    assert again.exit_code == 0, again.output
    config = SuiteConfig.from_file(tmp_path / "run/config.yaml")
    assert (config.cache_memory, config.cache_folder) == ("2GiB", tmp_path / "cache")


def test_an_engine_that_keeps_no_states_says_nothing_of_them(world: World, tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(suite_text(world, engine="direct", methods=["no_op"], floors=False))
    done = ravel("run", tmp_path / "suite.yaml", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "every state" not in done.output
    assert "cache" not in json.loads((tmp_path / "run/environment.json").read_text())["environments"][0]


# --- flags


def test_settings_survive_yaml(world: World) -> None:
    config = suite(world, cache_memory="1.5GiB", cache_folder="somewhere/else")
    assert config.cache_folder == Path("somewhere/else")
    assert SuiteConfig.from_yaml(config.to_yaml()) == config
    assert yaml.safe_load(config.to_yaml())["cache_folder"] == str(Path("somewhere/else"))
    plain = suite(world)
    assert (plain.cache_memory, plain.cache_folder) == (None, None)
    assert SuiteConfig.from_yaml(plain.to_yaml()) == plain


def test_a_number_in_yaml_is_refused_or_read_as_bytes(world: World) -> None:
    with pytest.raises(SuiteError, match="cache_memory"):
        suite(world, cache_memory=[4])
    with pytest.raises(SuiteError, match="an amount of memory"):
        suite(world, cache_memory="four")
    with pytest.raises(SuiteError, match="did you mean 'cache_memory'"):
        suite(world, cache_memroy="4GiB")
    assert parse_bytes(suite(world, cache_memory=4096).cache_memory or "") == 4096


def test_every_command_with_a_model_refuses_a_wrong_size_first(world: World, tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(suite_text(world))
    commands: list[list[Any]] = [
        fit_args(world, tmp_path / "f"),
        score_args(world, tmp_path / "f"),
        ["run", tmp_path / "suite.yaml", "--out", tmp_path / "run"],
        ["build", "--model", world.model, "--entity-type", "city", "--out", tmp_path / "i"],
    ]
    for command in commands:
        done = ravel(*command, "--cache-memory", "plenty")
        assert done.exit_code == 2, done.output
        assert "an amount of memory" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["suite.yaml"]


def test_flags_reach_the_engine(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def noting(name: str, target: object, **settings: Any) -> None:
        seen.update(settings, name=name)

    monkeypatch.setattr("das.engine.make_engine", noting)
    config = TargetConfig(
        model=str(world.model), engine="resume", cache_memory="3MB", cache_folder=tmp_path / "cache"
    )
    config.open()
    assert (seen["cache_bytes"], seen["cache_folder"]) == (3_000_000, tmp_path / "cache")
    TargetConfig(model=str(world.model)).open()
    assert (seen["cache_bytes"], seen["cache_folder"]) == (None, None)
