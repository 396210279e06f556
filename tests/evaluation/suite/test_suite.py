"""A suite from config to tables on the planted world: right numbers, resumable to the byte, blind to test
pairs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from planted_world import SITE, PlantedWorld
from same_bytes import bytes_in
from torch import Tensor

from das.engine.base.protocol import Engine, ForcedPair
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.methods.common.base import Method, MethodConfig, Problem, Workspace
from das.methods.registry import METHODS, registered_name
from das.sites import Site
from evaluation.config.suite import SuiteConfig
from evaluation.records.scores import (
    Outcome,
    read_averages,
    read_comparisons,
    read_scores,
)
from evaluation.suite.grid import Cell, check_splits, plan_cells, resolve
from evaluation.suite.run import RunRequest, RunSummary, run_suite
from ravel.common.durable import process_mark
from ravel.common.errors import SuiteError
from ravel.common.io import read_json
from ravel.common.progress import Counted, Event
from ravel.common.registry import Registry
from ravel.instance import Instance

ADDED_FLOORS = ("no_op", "full_vector", "random_subspace")
WORLD = PlantedWorld(0, n_entities=120)
INSTANCE = WORLD.instance(n_pairs=200, n_held_out=120)
QUICK = {"epochs": 2, "learning_rate": 0.05, "validation_pairs": 40}


def config(**changes: Any) -> SuiteConfig:
    """A suite of das and mdas at two sizes, with the floors."""
    fields: dict[str, Any] = {
        "instance": "in-memory",
        "methods": [{"name": "das", "config": QUICK}, {"name": "mdas", "config": QUICK}],
        "sites": [str(SITE)],
        "sizes": [2, 6],
        "seeds": [0],
        "generalisations": ["context"],
        "resamples": 200,
    }
    return SuiteConfig.from_mapping(fields | changes, origin="a test")


class Watched(PlantedWorld):
    """The planted world, which notes whose test prompts are run and stops after some calls."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__(0, n_entities=120)
        self.calls = 0
        self.stop_after = stop_after
        self.tested = 0

    def interchange_logits(
        self, pairs: Sequence[ForcedPair], site: Site, featurizer: Featurizer | None
    ) -> Tensor:
        """Count, and raise KeyboardInterrupt when the time has come."""
        self.calls += 1
        if self.stop_after is not None and self.calls > self.stop_after:
            raise KeyboardInterrupt
        self.tested += sum(pair.base.text.startswith("any") for pair in pairs)
        return super().interchange_logits(pairs, site, featurizer)


class Only(Registry[type[Method]]):
    """A registry of the methods given."""

    def __init__(self, *methods: type[Method]) -> None:
        super().__init__(kind="method", packages=(), attribute="METHOD", name_of=registered_name)
        self._known = {method.name: method for method in methods}


def but_environment(folder: Path) -> dict[str, bytes]:
    """Every file of a run but the environment."""
    return {name: found for name, found in bytes_in(folder).items() if Path(name).name != "environment.json"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    """One uninterrupted run, which the tests leave as it is."""
    return run_suite(
        RunRequest(config(), tmp_path_factory.mktemp("runs") / "whole", engine=Watched(), instance=INSTANCE)
    )


def test_the_table_says_what_the_world_is(finished: RunSummary) -> None:
    macro = {
        r.method: r
        for r in finished.averages
        if (r.scope, r.partition, r.source_kind) == ("macro", "test", "all")
    }
    assert (macro["no_op"].value("cause"), macro["no_op"].value("isolate")) == (0, 1)
    assert macro["no_op"].interval("disentangle") is not None
    low, high = macro["no_op"].interval("disentangle")
    assert low < 0.5 < high
    assert high - low < 0.1
    assert macro["full_vector"].value("cause") == 1
    assert (macro["full_vector"].value("isolate") or 0) < 0.4
    learned, floor = macro["mdas"].value("disentangle"), macro["random_subspace"].value("disentangle")
    assert learned is not None
    assert floor is not None
    assert learned > floor + 0.2
    against = {(c.first, c.second): c for c in finished.comparisons}[("mdas", "random_subspace")]
    assert against.interval("disentangle") is not None
    assert against.interval("disentangle")[0] > 0


def test_files_hold_what_the_summary_says(finished: RunSummary) -> None:
    folder = finished.folder
    assert tuple(read_scores(folder / "scores.jsonl")) == finished.scores
    assert tuple(read_averages(folder / "averages.jsonl")) == finished.averages
    assert tuple(read_comparisons(folder / "comparisons.jsonl")) == finished.comparisons
    assert SuiteConfig.from_file(folder / "config.yaml") == finished.config
    assert Instance.load(folder / "instance").fingerprint == INSTANCE.fingerprint
    environment = read_json(folder / "environment.json")
    assert environment["instance_fingerprint"] == INSTANCE.fingerprint
    assert environment["environments"][0]["packages"]["torch"] == torch.__version__
    names = {path.name for path in (folder / "tables").iterdir()}
    assert {f"{t}.{s}" for t in ("main", "attributes") for s in ("md", "csv", "tex")} <= names
    assert (folder / "plots" / "cause_isolate.svg").is_file()


def test_each_cell_keeps_its_featurizer_its_log_and_one_outcome_per_pair(finished: RunSummary) -> None:
    chosen = {record.cell for record in finished.scores if record.partition == "test"}
    for cell in (finished.folder / "cells").iterdir():
        header = read_json(cell / "cell.json")
        assert header["cell"] == cell.name
        assert header["batches"] == {"engine": "planted"}
        assert not (cell / "checkpoint").exists()
        assert (cell / "featurizer.safetensors").is_file()
        lines = (cell / "train_log.jsonl").read_text().splitlines()
        assert bool(lines) == (header["method"] in ("das", "mdas"))
        splits = ["context_val", *(["context_test"] if cell.name in chosen else [])]
        assert sorted(path.stem for path in (cell / "outcomes").iterdir()) == sorted(splits)
        for split in splits:
            outcomes = Outcome.read(cell / "outcomes" / f"{split}.jsonl")
            assert [o.pair_id for o in outcomes] == [p.pair_id for p in INSTANCE.pairs(split)]


def test_test_pairs_are_opened_for_chosen_cells_and_floors_only(finished: RunSummary) -> None:
    learned = [r for r in finished.scores if r.partition == "test" and r.method not in ADDED_FLOORS]
    assert learned
    assert all(record.chosen for record in learned)
    for method in ("das", "mdas"):
        for attribute in ("A", "B"):
            own = [
                r
                for r in finished.scores
                if (r.method, r.attribute, r.partition) == (method, attribute, "val")
            ]
            assert len(own) == 2
            best = max(own, key=lambda r: (r.value("disentangle") or 0, -r.size))
            assert [r.cell for r in own if r.chosen] == [best.cell]
    floors = {
        (r.method, r.size) for r in finished.scores if r.partition == "test" and r.method in ADDED_FLOORS
    }
    assert floors == {("no_op", 0), ("full_vector", 16), ("random_subspace", 2), ("random_subspace", 6)}


@pytest.mark.parametrize("stop_after", [3, 40, 90])
def test_a_killed_run_goes_on_to_the_same_bytes(
    finished: RunSummary, tmp_path: Path, stop_after: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_suite(RunRequest(config(), tmp_path / "run", engine=Watched(stop_after), instance=INSTANCE))
    assert not (tmp_path / "run" / "scores.jsonl").exists()
    run_suite(RunRequest(config(), tmp_path / "run", engine=Watched(), instance=INSTANCE))
    assert but_environment(tmp_path / "run") == but_environment(finished.folder)


@pytest.mark.slow
def test_a_run_killed_again_and_again_gets_there(finished: RunSummary, tmp_path: Path) -> None:
    for _ in range(40):
        try:
            run_suite(RunRequest(config(), tmp_path / "run", engine=Watched(100), instance=INSTANCE))
            break
        except KeyboardInterrupt:
            continue
    assert but_environment(tmp_path / "run") == but_environment(finished.folder)


def test_a_finished_run_is_only_read(finished: RunSummary) -> None:
    before = but_environment(finished.folder)
    engine = Watched(stop_after=0)
    assert run_suite(RunRequest(config(), finished.folder, engine=engine, instance=INSTANCE)) == finished
    assert engine.calls == 0
    assert but_environment(finished.folder) == before


def test_a_finished_run_keeps_nothing_of_a_worker_that_died(tmp_path: Path) -> None:
    """A write that ended with its process left a file beside its place, and the job went to another."""
    host, pid, start = process_mark().split("-")
    part = tmp_path / "run" / "cells" / f".featurizer.safetensors.{host}-{pid}-{int(start) + 1}.abc.part"

    def progress(event: Event) -> None:
        if isinstance(event, Counted) and event.stage.startswith("fit"):
            part.write_text("half")

    small = config(methods=[{"name": "mdas", "config": QUICK}], sizes=[2], attributes=["A"], floors=False)
    run_suite(RunRequest(small, tmp_path / "run", engine=Watched(), instance=INSTANCE), progress)
    assert list((tmp_path / "run").rglob("*.part")) == []


def test_added_seeds_add_cells_and_leave_the_others(tmp_path: Path) -> None:
    small = {"methods": [{"name": "mdas", "config": QUICK}], "sizes": [2], "attributes": ["A"]}
    run_suite(RunRequest(config(**small), tmp_path / "run", engine=Watched(), instance=INSTANCE))
    before = but_environment(tmp_path / "run" / "cells")
    grown = run_suite(
        RunRequest(config(**small, seeds=[0, 1]), tmp_path / "run", engine=Watched(), instance=INSTANCE)
    )
    after = but_environment(tmp_path / "run" / "cells")
    assert before.items() <= after.items()
    assert {r.seed for r in grown.scores if r.method == "mdas"} == {0, 1}
    assert {r.seed for r in grown.scores if r.method == "no_op"} == {0}
    macro = next(r for r in grown.averages if (r.method, r.scope, r.partition) == ("mdas", "macro", "test"))
    per_seed = [
        r.value("cause") or 0
        for r in grown.scores
        if (r.method, r.partition, r.source_kind) == ("mdas", "test", "all")
    ]
    assert macro.value("cause") == pytest.approx(sum(per_seed) / 2)
    with pytest.raises(SuiteError, match="seeds without 1") as refused:
        run_suite(RunRequest(config(**small), tmp_path / "run", engine=Watched(), instance=INSTANCE))
    # Cells of the seed that went; random_subspace draws too, no_op does not.
    named = "finished cells that no longer belong: "
    assert named in str(refused.value)
    orphans = str(refused.value).split(named)[1]
    assert "mdas A" in orphans
    assert "seed 1" in orphans
    assert "seed 0" not in orphans
    assert "no_op" not in orphans


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_tokens": 2}, "label_tokens 2 where the run has 3"),
        ({"sizes": [6]}, "sizes without 2"),
        ({"methods": [{"name": "mdas", "config": QUICK}]}, "methods without das"),
        (
            {"methods": ["das", {"name": "mdas", "config": QUICK}]},
            r"methods with das changed \(epochs 3 where the run has 2; learning_rate",
        ),
        ({"resamples": 100, "seed": 7}, "resamples 100 where the run has 200; seed 7 where the run has 0"),
    ],
)
def test_a_run_of_another_config_is_refused(
    finished: RunSummary, change: dict[str, Any], message: str
) -> None:
    before = but_environment(finished.folder)
    with pytest.raises(SuiteError, match=message):
        run_suite(RunRequest(config(**change), finished.folder, engine=Watched(), instance=INSTANCE))
    assert but_environment(finished.folder) == before


def test_a_run_of_another_instance_or_a_foreign_folder_is_refused(
    finished: RunSummary, tmp_path: Path
) -> None:
    other = WORLD.instance(n_pairs=200, n_held_out=100)
    with pytest.raises(SuiteError, match="the instance fingerprint of the run"):
        run_suite(RunRequest(config(), finished.folder, engine=Watched(), instance=other))
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SuiteError, match="without a run's config"):
        run_suite(RunRequest(config(), tmp_path, engine=Watched(), instance=INSTANCE))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


class Peeper(Method):
    """Tries to read the test pairs while it is fitted."""

    name: ClassVar[str] = "peeper"
    summary: ClassVar[str] = "reads what it must not"
    config_class: ClassVar[type[MethodConfig]] = MethodConfig
    needs_attribute: ClassVar[bool] = True
    needs_size: ClassVar[bool] = False

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Reach for the test split."""
        problem.instance.pairs("context_test")
        return MaskedBasis(torch.zeros(engine.target.d_model), None)


def test_a_method_that_reads_test_pairs_is_stopped(tmp_path: Path) -> None:
    suite, engine = config(methods=["peeper"]), Watched()
    with pytest.raises(SuiteError, match="'context_test', which is withheld here"):
        run_suite(RunRequest(suite, tmp_path / "run", engine=engine, instance=INSTANCE, methods=Only(Peeper)))
    assert engine.tested == 0


def test_no_test_prompt_is_run_before_everything_is_chosen(tmp_path: Path) -> None:
    engine = Watched()
    tested_at: list[tuple[str, int]] = []

    def progress(event: Event) -> None:
        stage = event.stage.split(" ")[0] if isinstance(event, Counted) else type(event).__name__
        tested_at.append((stage, engine.tested))

    run_suite(RunRequest(config(), tmp_path / "run", engine=engine, instance=INSTANCE), progress)
    assert {stage for stage, _ in tested_at} == {"cells", "fit", "Finished", "judge", "test"}
    assert max(tested for stage, tested in tested_at if stage == "cells") == 0
    assert engine.tested > 0


def test_two_settings_of_a_method_are_one_row_tuned_on_validation(tmp_path: Path) -> None:
    frozen = {"epochs": 1, "learning_rate": 1e-9, "validation_pairs": 0}
    suite = config(
        methods=[{"name": "mdas", "config": frozen}, {"name": "mdas", "config": QUICK}],
        sizes=[2],
        floors=False,
    )
    found = run_suite(RunRequest(suite, tmp_path / "run", engine=Watched(), instance=INSTANCE))
    chosen = {r.cell for r in found.scores if r.chosen}
    settings = [read_json(tmp_path / "run" / "cells" / cell / "cell.json")["config"] for cell in chosen]
    assert len(chosen) == 2
    assert all(setting["learning_rate"] == QUICK["learning_rate"] for setting in settings)


# Plans


def cells_of(**changes: Any) -> tuple[Cell, ...]:
    return plan_cells(resolve(config(**changes), INSTANCE, WORLD.target), INSTANCE, WORLD.target)


def test_the_grid_has_a_cell_per_question() -> None:
    cells = cells_of(seeds=[0, 1])
    count = {name: sum(cell.method == name for cell in cells) for name in ("das", "mdas", *ADDED_FLOORS)}
    # 2 attributes x 2 sizes x 2 seeds; floors know no attribute, two of them no size and no seed.
    assert count == {"das": 8, "mdas": 8, "no_op": 1, "full_vector": 1, "random_subspace": 4}
    assert len({cell.cell_id for cell in cells}) == len(cells)


def test_a_cell_id_depends_on_what_determines_the_result_and_on_nothing_else() -> None:
    ids = {cell.cell_id for cell in cells_of()}
    assert ids == {
        cell.cell_id for cell in cells_of(engine="reference", resamples=5, seed=9, batch_tokens=64)
    }
    assert ids == {cell.cell_id for cell in cells_of(sizes=[6, 2, 6])}
    for change in ({"label_tokens": 1}, {"tolerance": False}, {"seeds": [1]}, {"sizes": [3]}):
        assert not ids & {c.cell_id for c in cells_of(**change) if c.method == "mdas"}


def test_a_resolved_config_is_whole_and_survives_yaml() -> None:
    resolved = resolve(config(methods=["mdas"]), INSTANCE, WORLD.target)
    assert [spec.name for spec in resolved.methods] == ["mdas", *ADDED_FLOORS]
    assert resolved.methods[0].config == METHODS.get("mdas").config_class().model_dump(mode="json")
    assert resolved.attributes == ("A", "B")
    assert SuiteConfig.from_yaml(resolved.to_yaml()) == resolved
    assert resolve(resolved, INSTANCE, WORLD.target) == resolved
    assert json.loads(resolved.model_dump_json())["methods"][0]["name"] == "mdas"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ["mdsa"]}, "'mdsa'. To mend it: did you mean 'mdas'"),
        (
            {"methods": [{"name": "mdas", "config": {"epoch": 3}}]},
            "'epoch'. To mend it: did you mean 'epochs'",
        ),
        ({"methods": [{"name": "mdas", "confg": {}}]}, "did you mean 'config'"),
        ({"methods": []}, "methods"),
        ({"attributes": ["Continent"]}, "'Continent'. To mend it: known: A, B"),
        ({"attributes": []}, "at least one target attribute"),
        ({"sites": ["block_output.7@entity_last"]}, "this model has 1 blocks; got layer 7"),
        ({"sites": ["block_output"]}, "stream.layer@position"),
        (
            {"sizes": [2, 17]},
            "sizes from 1 to 16, the most that das has at the suite's sites of planted; got 17",
        ),
        ({"sizes": []}, "for das needs one; got an empty list"),
        ({"sizes": [0]}, "sizes.0"),
        ({"generalisations": ["entity"]}, "pairs in entity_test"),
        ({"generalisations": ["sideways"]}, "generalisations.0"),
        ({"sizs": [2]}, "did you mean 'sizes'"),
    ],
)
def test_wrong_suites_are_refused_before_anything_runs(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    engine = Watched(stop_after=0)
    with pytest.raises(SuiteError, match=message):
        run_suite(RunRequest(config(**change), tmp_path / "run", engine=engine, instance=INSTANCE))
    assert not (tmp_path / "run").exists()


def test_another_model_than_that_of_the_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="the model that gave the instance's labels"):
        run_suite(RunRequest(config(), tmp_path / "run", engine=PlantedWorld(1), instance=INSTANCE))


def test_a_choice_needs_validation_pairs() -> None:
    pairs = {s: INSTANCE.pairs(s) for s in ("train", "context_test")}
    prompts = {
        pid: INSTANCE.prompt(pid) for p in pairs.values() for x in p for pid in (x.base, x.source, x.swapped)
    }
    blind = Instance.from_parts(
        entity_type="planted",
        model_name="planted",
        model_fingerprint=INSTANCE.model_fingerprint,
        prompts=prompts.values(),
        pairs=pairs,
    )
    with pytest.raises(SuiteError, match="cause and isolate pairs of 'A' in one of context_val"):
        check_splits(resolve(config(), blind, WORLD.target), blind)
    check_splits(resolve(config(sizes=[2]), blind, WORLD.target), blind)


class _Failing(Method):
    """A method that ends in an error of the user's making."""

    name: ClassVar[str] = "failing"
    summary: ClassVar[str] = "For tests"
    config_class: ClassVar[type[MethodConfig]] = MethodConfig
    needs_attribute: ClassVar[bool] = False
    needs_size: ClassVar[bool] = False

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Fail."""
        raise SuiteError(expected="something else", came="this", todo="take the method out")


def test_a_method_that_failed_can_be_taken_out_and_nothing_is_lost(tmp_path: Path) -> None:
    methods = Only(METHODS.get("mdas"), _Failing)
    small = {"sizes": [2], "attributes": ["A"], "floors": False}
    spec = {"name": "mdas", "config": QUICK}
    suite = config(**small, methods=[spec, "failing"])
    found = run_suite(
        RunRequest(suite, tmp_path / "run", engine=Watched(), instance=INSTANCE, methods=methods)
    )
    assert {failure.method for failure in found.failures} == {"failing"}
    assert all("take the method out" in f.error and f.attempts == 1 for f in found.failures)
    engine = Watched()
    before = but_environment(tmp_path / "run" / "cells")
    run_suite(
        RunRequest(
            config(**small, methods=[spec]),
            tmp_path / "run",
            engine=engine,
            instance=INSTANCE,
            methods=methods,
        )
    )
    after = but_environment(tmp_path / "run" / "cells")
    fitted = {name: data for name, data in before.items() if name.endswith("cell.json")}
    assert fitted
    assert fitted.items() <= after.items()


def test_scores_of_the_smaller_grid_do_not_pass_for_those_of_the_larger(tmp_path: Path) -> None:
    small = {"methods": [{"name": "mdas", "config": QUICK}], "attributes": ["A"]}
    run_suite(RunRequest(config(**small, sizes=[2]), tmp_path / "run", engine=Watched(), instance=INSTANCE))
    assert (tmp_path / "run" / "scores.jsonl").is_file()
    with pytest.raises(KeyboardInterrupt):
        run_suite(
            RunRequest(
                config(**small, sizes=[2, 3]),
                tmp_path / "run",
                engine=Watched(stop_after=3),
                instance=INSTANCE,
            )
        )
    assert not (tmp_path / "run" / "scores.jsonl").exists()


def test_an_instance_in_memory_needs_an_engine(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="together with an engine"):
        run_suite(RunRequest(config(), tmp_path / "run", instance=INSTANCE))
    assert not (tmp_path / "run").exists()
