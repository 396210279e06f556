"""The Markdown of the repository against the code: its Python runs, its commands parse, its links and names
exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import typer
from planted_world import SITE, WIDTH, PlantedWorld

from das.engine import DirectEngine, ForcedPair
from das.featurizers import MaskedBasis, Subspace
from das.featurizers.storage import FeaturizerHeader
from das.methods.common.base import Problem
from das.models.miniature import miniature
from das.models.planted import (
    HiddenPathway,
    PlantedSpec,
    PlantedTraining,
    Variable,
    check_spec,
    make_world,
    planted_specs,
    save_world,
)
from das.sites import Site
from das.training.workspace import SilentWorkspace
from evaluation.cli import app
from evaluation.config.suite import SuiteConfig
from evaluation.records.breakdowns import BreakdownRecord
from evaluation.records.control_checks import ControlCheck
from evaluation.records.diagnosis import CellDiagnoses, Check, Diagnosis, Measure, PatchScore, Undiagnosed
from evaluation.records.scores import Outcome
from evaluation.suite.grid import Cell
from ravel.asking.prompts import fill
from ravel.building import BuildConfig
from ravel.checking.audit import audit_tables
from ravel.checking.dependence import Dependence, Skew
from ravel.facts.tables import read_tables
from ravel.instance import Manifest, PromptRecord
from ravel.terms.schema import InterchangePair, Template

if TYPE_CHECKING:
    from das.models.base import TargetModel

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "data/*/README.md") for path in ROOT.glob(pattern)
)
HOW_TOS = ROOT / "docs" / "how-to"
PLANTED = HOW_TOS / "planted-worlds.md"
NEW_IN_RECIPES = (
    "das/models/families/starcoder2.py",
    "data/river/",
    "das/methods/closed_form/top_variance.py",
)
"""Paths that a recipe tells the reader to make."""

needs_target = pytest.mark.skipif(
    not (ROOT / "data" / "target_model").is_dir(), reason="the bundled target model is not in this checkout"
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    """Where it stands."""
    language: str
    """What stands after the fence; may be empty."""
    text: str
    """Its lines."""


def blocks_of(page: Path, language: str | None = None) -> list[Block]:
    """Return the fenced blocks of a page, all or those of one language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(page, name, text) for name, text in found if language in (None, name)]


def prose_of(page: Path) -> str:
    """Return a page without its fenced blocks."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def names_of(pages: list[Path]) -> list[str]:
    return [page.relative_to(ROOT).as_posix() for page in pages]


def run_block(text: str, name: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": name}
    exec(compile(text, name, "exec"), namespace)
    return namespace


@pytest.fixture
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestPython:
    @needs_target
    def test_the_interchange_by_hand_runs(
        self, in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (block,) = blocks_of(ROOT / "docs/concepts.md", "python")
        run_block(block.text, "concepts")
        assert "Kenya" in capsys.readouterr().out
        assert list(in_empty_folder.iterdir()) == []

    def test_the_interchange_by_hand_asserts_something(self) -> None:
        (block,) = blocks_of(ROOT / "docs/concepts.md", "python")
        assert "assert" in block.text

    def test_the_worked_page_is_short(self) -> None:
        text = "\n".join(b.text for b in blocks_of(ROOT / "docs/from-facts-to-table.md", "python"))
        assert len([line for line in text.splitlines() if line.strip()]) <= 40

    @needs_target
    @pytest.mark.slow
    @pytest.mark.long
    def test_the_worked_page_runs(self, in_empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = "\n".join(b.text for b in blocks_of(ROOT / "docs/from-facts-to-table.md", "python"))
        run_block(text, "from-facts-to-table")
        printed = capsys.readouterr().out
        assert "| *no\\_op* |" in printed
        assert (in_empty_folder / "run" / "scores.jsonl").is_file()

    @pytest.mark.parametrize("page", names_of(PAGES))
    def test_every_block_compiles(self, page: str) -> None:
        for block in blocks_of(ROOT / page, "python"):
            compile(block.text, page, "exec")

    def test_the_new_entity_type_is_declared_and_reads_its_data(self, tmp_path: Path) -> None:
        page = HOW_TOS / "add-an-entity-type.md"
        (declaration,) = blocks_of(page, "python")
        for name, block in zip(("entities", "templates"), blocks_of(page, "json"), strict=True):
            (tmp_path / f"{name}.jsonl").write_text(block.text, encoding="utf-8")
        tables = read_tables(tmp_path, run_block(declaration.text, "river")["ENTITY_TYPE"])
        assert tables.attributes() == ("Sea", "Continent", "Length")
        assert audit_tables(tables).glued_slots == ()

    def test_the_new_family_runs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        block, _ = blocks_of(HOW_TOS / "add-a-model-family.md", "python")
        family = run_block(block.text, "starcoder2")["FAMILY"]
        monkeypatch.setattr("das.models.load.FAMILIES", [family])
        target = miniature(family)
        base, source = (fill(Template("To %s we go", None, "train"), name) for name in ("Ulm", "Rome"))
        pair = ForcedPair(base, source, (5, 6))
        engine, whole = DirectEngine(target), MaskedBasis(torch.ones(target.d_model))
        plain = engine.interchange_logits([pair], Site(1), None)
        assert not torch.equal(engine.interchange_logits([pair], Site(1), whole), plain)
        itself = ForcedPair(base, base, (5, 6))
        torch.testing.assert_close(engine.interchange_logits([itself], Site(1), whole), plain)

    @needs_target
    def test_the_laws_of_a_model_are_shown(self, capsys: pytest.CaptureFixture[str]) -> None:
        _, block = blocks_of(HOW_TOS / "add-a-model-family.md", "python")
        run_block(block.text, "look")["look_at"]("bundled")
        assert (
            "block_output.0 what stands after a block is the whole residual stream" in capsys.readouterr().out
        )

    def test_the_new_method_finds_a_subspace(self) -> None:
        (block,) = blocks_of(HOW_TOS / "add-a-method.md", "python")
        world = PlantedWorld(3, n_entities=60)
        instance = world.instance(n_pairs=50, n_held_out=10).without_test()
        problem = Problem(instance=instance, attribute="A", site=SITE, size=WIDTH - 1, seed=0)
        method = run_block(block.text, "top_variance")["METHOD"]()
        found = method.fit(problem, world, SilentWorkspace())
        assert isinstance(found, Subspace)
        assert found.size == WIDTH - 1

    def test_a_model_in_memory_becomes_an_engine(self, small_target: TargetModel) -> None:
        (block,) = blocks_of(HOW_TOS / "use-your-own-model.md", "python")
        engine = run_block(block.text, "own")["engine_for"](small_target.model, small_target.tokenizer)
        assert engine.target.fingerprint == small_target.fingerprint


class TestPlantedWorlds:
    def test_the_world_of_the_recipe_can_hold_and_is_called_as_its_file(self) -> None:
        spec = recipe_world()
        check_spec(spec)
        assert f"`{spec.name}.yaml`" in prose_of(PLANTED)
        assert spec.coordinates("Taste") == (0, 1, 2, 3)

    def test_every_setting_is_explained(self) -> None:
        text = prose_of(PLANTED)
        names = {*PlantedSpec.model_fields, *HiddenPathway.model_fields, *Variable.model_fields}
        assert [name for name in sorted(names) if f"`{name}`" not in text] == []
        for name, world in planted_specs().items():
            assert world.hidden_pathway is None or f"`{name}`" in text, name

    def test_a_world_is_loaded_as_shown(
        self, in_empty_folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        spec = recipe_world()
        barely = spec.model_copy(update={"entities": 24, "training": PlantedTraining(steps=2, batch=8)})
        save_world(make_world(barely), in_empty_folder / "worlds" / "tea")
        (block,) = blocks_of(PLANTED, "python")
        run_block(block.text, "planted")
        assert capsys.readouterr().out.split("\n")[1] == "torch.Size([32, 4])"


def recipe_world() -> PlantedSpec:
    (block,) = blocks_of(PLANTED, "yaml")
    return PlantedSpec.from_yaml(block.text, origin=str(PLANTED))


def command_lines(page: Path) -> Iterator[str]:
    """Yield the lines of shell blocks that call `ravel`, comments and redirections cut off."""
    for block in blocks_of(page, "bash"):
        joined = block.text.replace("\\\n", " ")
        for line in joined.splitlines():
            if line.split()[:1] == ["ravel"]:
                yield re.split(r"\s[#>|]", line)[0].strip()


def inline_commands(page: Path) -> Iterator[str]:
    """Yield what stands in backticks and begins with `ravel` and a blank."""
    yield from (
        " ".join(found.split()) for found in re.findall(r"`(ravel\s[^`]+)`", prose_of(page), re.DOTALL)
    )


def parse(line: str) -> None:
    """Parse a command line without running it. Raises an error of click for what is unknown or missing."""
    command, context = typer.main.get_command(app), None
    words = shlex.split(line)[1:]
    name = "ravel"
    while True:
        context = command.make_context(name, list(words), parent=context)
        rest = [*getattr(context, "_protected_args", []), *context.args]
        if not hasattr(command, "commands"):
            assert not rest, f"{rest} left over"
            return
        name, words = rest[0], rest[1:]
        command = known_command(command, name)


def known_command(group: Any, name: str) -> Any:
    assert name in group.commands, f"no command {name!r}; known: {', '.join(group.commands)}"
    return group.commands[name]


def check_mention(line: str) -> None:
    """Check that the commands and options named in prose exist; what is required may be left out."""
    command = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        command = known_command(command, words.pop(0))
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    for word in words:
        assert not word.startswith("--") or word in options, f"no option {word!r} in {line!r}"


class TestCommandLines:
    @pytest.mark.parametrize("page", names_of(PAGES))
    def test_every_command_line_parses(self, page: str) -> None:
        for line in command_lines(ROOT / page):
            parse(line)

    @pytest.mark.parametrize("page", names_of(PAGES))
    def test_every_command_in_the_text_exists(self, page: str) -> None:
        for line in inline_commands(ROOT / page):
            check_mention(line)

    def test_there_are_some(self) -> None:
        assert sum(len(list(command_lines(page))) for page in PAGES) > 10

    @pytest.mark.parametrize("line", ["ravel biuld", "ravel data audit city --dta x", "ravel fit mdas"])
    def test_a_wrong_line_is_found(self, line: str) -> None:
        with pytest.raises((AssertionError, Exception), match=r"(?i)no command|no such option|missing"):
            parse(line)

    def test_every_command_is_in_the_list(self) -> None:
        text = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
        for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
            assert f"`ravel {name}" in text

    def test_suites_and_settings_in_the_text_are_valid(self) -> None:
        for page in PAGES:
            for block in blocks_of(page, "yaml") if page != PLANTED else ():
                SuiteConfig.from_yaml(block.text, origin=str(page))


def test_every_number_of_the_bundled_comparison_stands_in_a_table_that_a_run_wrote() -> None:
    text = (ROOT / "docs" / "bundled-comparison.md").read_text(encoding="utf-8")
    tables = "".join(p.read_text(encoding="utf-8") for p in sorted((ROOT / "docs/figures").glob("*_*.md")))
    numbers = set(re.findall(r"(?<![\d.])0\.\d{2,}", text))
    assert len(numbers) > 10
    assert {number for number in numbers if number not in tables} == set()
    for figure in re.findall(r"figures/[\w.]+\.png", text):
        assert (ROOT / "docs" / figure).is_file(), figure


def slug(heading: str) -> str:
    """Return the anchor that a heading gets on common hosts."""
    text = re.sub(r"&\w+;|[`*]", "", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors_of(page: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)}


class TestLinks:
    @pytest.mark.parametrize("page", names_of(PAGES))
    def test_every_relative_link_leads_somewhere(self, page: str) -> None:
        for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(ROOT / page)):
            if re.match(r"\w+:", target):
                continue
            path, _, anchor = target.partition("#")
            place = (ROOT / page).parent / path if path else ROOT / page
            assert place.exists(), f"{target} in {page}"
            if anchor:
                assert anchor in anchors_of(place), f"{target} in {page}"

    def test_the_index_names_every_page(self) -> None:
        index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
        pages = [
            path.relative_to(ROOT / "docs").as_posix()
            for path in (ROOT / "docs").rglob("*.md")
            if path.parent.name != "figures"
        ]
        assert [page for page in pages if page != "index.md" and f"({page})" not in index] == []


class TestNames:
    def test_the_readme_is_short(self) -> None:
        """What a newcomer reads first; tables of numbers made by scripts don't count."""
        text = re.sub(r"<!-- (\S+) -->.*?<!-- /\1 -->", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
        assert len(text.split()) < 700

    def test_every_folder_is_among_the_rooms(self) -> None:
        rooms = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
        tracked = [
            folder for top in ("ravel", "das", "evaluation", "data") for folder in (ROOT / top).iterdir()
        ]
        named = [f for f in tracked if f.is_dir() and not f.name.startswith(("_", "."))]
        missing = [f for f in named if f"`{f.relative_to(ROOT).as_posix()}/`" not in rooms]
        assert missing == []

    @pytest.mark.parametrize("page", names_of(PAGES))
    def test_every_file_named_in_the_text_exists(self, page: str) -> None:
        named = re.findall(
            r"`((?:ravel|das|evaluation|data|scripts|tests|docs)/[\w/.-]*)`", prose_of(ROOT / page)
        )
        assert [name for name in named if name not in NEW_IN_RECIPES and not (ROOT / name).exists()] == []

    def test_every_name_in_the_architecture_is_where_it_says(self) -> None:
        text = " ".join(prose_of(ROOT / "ARCHITECTURE.md").split())
        found = re.findall(r"`(\w+)(?:\.(\w+))?(?:\(\))?` in `([\w/]+\.py)`", text)
        assert len(found) > 20
        for name, method, path in found:
            code = (ROOT / path).read_text(encoding="utf-8")
            for part in filter(None, (name, method)):
                assert re.search(rf"\b(def|class) {part}\b", code), f"{part} in {path}"

    def test_every_third_party_has_a_reason(self) -> None:
        project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        listed = project.partition("\ndependencies = [")[2].partition("]")[0]
        text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
        for name in re.findall(r'"([\w-]+)', listed):
            assert re.search(rf"\b{name}\b", text, re.IGNORECASE), name

    @pytest.mark.parametrize(
        ("section", "names"),
        [
            ("config.yaml", list(SuiteConfig.model_fields)),
            ("instance/manifest.json", [f.name for f in fields(Manifest)] + list(BuildConfig.model_fields)),
            ("instance/prompts.jsonl", ["text", "template", "entity", "attribute", "span"]),
            ("instance/prompts.jsonl", [f.name for f in fields(PromptRecord) if f.name != "prompt"]),
            ("instance/pairs/", [f.name for f in fields(InterchangePair)]),
            (
                "cells/&lt;id&gt;/cell.json",
                [f.name for f in fields(Cell) if f.name not in ("cell_id", "setting")],
            ),
            ("cells/&lt;id&gt;/featurizer.json", [f.name for f in fields(FeaturizerHeader)]),
            ("cells/&lt;id&gt;/outcomes/", [f.name for f in fields(Outcome)]),
            ("breakdowns.jsonl", [f.name for f in fields(BreakdownRecord)]),
            ("dependence.jsonl", [f.name for f in fields(Dependence)]),
            ("values.jsonl", [f.name for f in fields(Skew)]),
            (
                "control_checks.jsonl",
                [f.name for f in fields(ControlCheck) if not f.name.endswith("_interval")],
            ),
            ("cells/&lt;id&gt;/diagnostics.json", [f.name for f in fields(Diagnosis)]),
            ("cells/&lt;id&gt;/diagnostics.json", [f.name for f in fields(CellDiagnoses)]),
            (
                "cells/&lt;id&gt;/diagnostics.json",
                sorted({f.name for row in (PatchScore, Measure, Check, Undiagnosed) for f in fields(row)}),
            ),
        ],
    )
    def test_every_field_of_a_run_is_explained(self, section: str, names: list[str]) -> None:
        page = (ROOT / "docs" / "run-folder.md").read_text(encoding="utf-8")
        (text,) = re.findall(rf"^## {re.escape(section)}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
        assert [name for name in names if f"`{name}`" not in text] == []


def test_nothing_speaks_of_the_place_it_was_written_in() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.])/(work|tmp|home|root)/", text), page


def test_running_the_tests_leaves_no_trace_in_the_repository() -> None:
    for name in ("people-run", "city-instance", "ravel-demo"):
        assert not (ROOT / name).exists()
