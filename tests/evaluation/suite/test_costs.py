"""What fits cost: as many passes as the engine was asked for, whoever was fitted beside whom; times stand
where nothing is compared."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from planted_world import SITE, PlantedWorld
from torch import Tensor

from das.engine.base.labels import ForcedLabels
from das.engine.base.protocol import AnswerPair, FeaturizedPairs, ForcedPair
from das.finding import Actor
from das.passes import PassCount, PassCounter
from das.sites import Site
from evaluation.config.suite import SuiteConfig
from evaluation.records.headers import FitCost, cost_in, passes_together, read_cell_header
from evaluation.records.run_records import RunRecords
from evaluation.report.frames import load_run
from evaluation.suite.cells.shared_tensors import SharedTensors
from evaluation.suite.run import RunRequest, run_suite
from evaluation.verify.folders import verify_artefact
from ravel.common.errors import SuiteError
from ravel.common.io import read_json, write_json
from ravel.terms.schema import Prompt

INSTANCE = PlantedWorld(0, n_entities=60).instance(n_pairs=60, n_held_out=20)
QUICK = {"epochs": 2, "learning_rate": 0.05, "validation_pairs": 10}
ASKED = {"queries": 20, "fitting_steps": 20, "teaching_steps": 20, "rounds": 1}


class Counting(PlantedWorld):
    """The planted world, which counts the pairs and prompts of calls from outside that are no judging."""

    def __init__(self) -> None:
        super().__init__(0, n_entities=60)
        self.asked = PassCount()
        self.inside = False

    @contextmanager
    def call(self, rows: int, featurizer: Actor | None = None) -> Iterator[None]:
        outer, self.inside = self.inside, True
        if not outer:
            self.asked.add(PassCount(rows, rows if featurizer is not None and torch.is_grad_enabled() else 0))
        try:
            yield
        finally:
            self.inside = outer

    def collect(self, prompts: Sequence[Prompt], sites: Sequence[Site]) -> dict[Site, Tensor]:
        with self.call(len(prompts)):
            return super().collect(prompts, sites)

    def forced_labels(self, groups: Sequence[FeaturizedPairs], site: Site) -> list[ForcedLabels]:
        with self.call(sum(len(group.pairs) for group in groups), groups[0].featurizer):
            return super().forced_labels(groups, site)

    def interchange_logits(self, pairs: Sequence[ForcedPair], site: Site, featurizer: Actor | None) -> Tensor:
        with self.call(len(pairs), featurizer):
            return super().interchange_logits(pairs, site, featurizer)

    def predicts(
        self, choices: Sequence[AnswerPair], site: Site, featurizer: Actor | None
    ) -> list[tuple[bool, bool]]:
        with self.call(0):
            return super().predicts(choices, site, featurizer)


def carried_out(folder: Path, *methods: dict[str, Any], **changes: Any) -> Counting:
    fields: dict[str, Any] = {
        "instance": "in-memory",
        "methods": list(methods),
        "sites": [str(SITE)],
        "sizes": [2, 4],
        "seeds": [0],
        "generalisations": ["context"],
    }
    engine = Counting()
    config = SuiteConfig.from_mapping(fields | changes, origin="a test")
    run_suite(RunRequest(config, folder, engine=engine, instance=INSTANCE))
    return engine


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counting]:
    folder = tmp_path_factory.mktemp("runs") / "run"
    methods = [{"name": name, "config": QUICK} for name in ("das", "mdas", "mdbm")]
    return folder, carried_out(folder, *methods, {"name": "neurons_attribution"})


def costs_in(folder: Path) -> dict[str, tuple[str, FitCost]]:
    headers = [read_cell_header(path) for path in sorted(folder.glob("cells/*/cell.json"))]
    found = {h["cell"]: (h["method"], cost_in(h)) for h in headers}
    return {cell: (method, cost) for cell, (method, cost) in found.items() if cost is not None}


def test_cells_say_together_what_the_engine_was_asked(finished: tuple[Path, Counting]) -> None:
    folder, engine = finished
    costs = [cost for _, cost in costs_in(folder).values()]
    assert len(costs) == len(list(folder.glob("cells/*")))
    assert verify_artefact(folder).problems == ()
    shared = {key: one for cost in costs for key, one in cost.shared.items()}
    counts = [*(cost.own for cost in costs), *shared.values()]
    assert shared
    assert engine.asked.forward == sum(one.forward for one in counts)
    assert engine.asked.back == sum(one.back for one in counts) > 0
    assert {method for method, cost in costs_in(folder).values() if cost.passes == 0} == {
        *("no_op", "full_vector", "random_subspace")
    }


def test_a_training_costs_its_epochs_of_pairs(finished: tuple[Path, Counting]) -> None:
    folder, _ = finished
    pairs = sum(pair.attribute == "A" for pair in INSTANCE.pairs("train"))
    das = [cost.own for method, cost in costs_in(folder).values() if method == "das"]
    assert {count.back for count in das} == {QUICK["epochs"] * pairs}
    assert all(count.forward > count.back for count in das)


def test_what_fits_share_counts_once_whoever_made_it(tmp_path: Path) -> None:
    carried_out(tmp_path, {"name": "emulated_mdas", "config": ASKED}, sizes=[2])
    costs = [cost for method, cost in costs_in(tmp_path).values() if method == "emulated_mdas"]
    first, second = costs
    assert first.shared == second.shared
    assert passes_together(costs) == first.passes + second.own.passes < first.passes + second.passes
    before = {path: path.read_bytes() for path in tmp_path.glob("cells/*/cell.json")}
    shutil.rmtree(next(path.parent for path in before if b"emulated" in path.read_bytes()))
    carried_out(tmp_path, {"name": "emulated_mdas", "config": ASKED}, sizes=[2])
    assert before == {path: path.read_bytes() for path in tmp_path.glob("cells/*/cell.json")}


def test_what_was_not_counted_is_not_known(tmp_path: Path) -> None:
    known, unknown = FitCost(PassCount(1, 1)), cost_in({"cell": "0"})
    assert unknown is None
    assert (passes_together([known]), passes_together([known, unknown]), passes_together([])) == (3, None, 0)
    counter, store = PassCounter(), SharedTensors(tmp_path)
    for make_anew in (True, False):
        with counter.sharing("key") as passes:
            store.get("key", lambda: counter.add(PassCount(5, 5)) or {"a": torch.zeros(1)}, passes)
        assert counter.shared == {"key": PassCount(5, 5)}, make_anew
    with counter.sharing("outer"), counter.sharing("inner"):
        counter.add(PassCount(2))
    assert counter.shared["outer"] == PassCount(2)
    counter.add(PassCount(known=False))
    assert (counter.own.known, counter.own.forward) == (False, 0)


def test_reports_have_passes(finished: tuple[Path, Counting]) -> None:
    folder, _ = finished
    frame = load_run(folder).costs()
    chosen = [r for r in RunRecords.open(folder).chosen() if r.method == "mdas"]
    total = frame[frame.cell.isin([record.cell for record in chosen])].passes.sum()
    assert f'"passes":{total}' in (folder / "report.html").read_text().replace(" ", "")
    assert str(total) in {
        line.rsplit(",", 1)[1]
        for line in (folder / "tables/main.csv").read_text().splitlines()
        if ",mdas," in line
    }


@pytest.mark.parametrize(
    "cost", [3, {}, {"forward": 1}, {"forward": 1, "back": -1}, {"forward": 1, "back": 0, "shared": []}]
)
def test_a_cost_that_is_none_is_refused(finished: tuple[Path, Counting], tmp_path: Path, cost: Any) -> None:
    header = read_json(next(finished[0].glob("cells/*/cell.json")))
    write_json(tmp_path / "cell.json", {**header, "cost": cost})
    with pytest.raises(SuiteError, match="cost"):
        read_cell_header(tmp_path / "cell.json")
