"""A search of sites in a suite: planted layers are kept, each attribute at its own, and what that saves is
told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from planted_world import ATTRIBUTES, PlantedWorld
from torch import Tensor, nn

from das.engine.base.protocol import ForcedPair
from das.featurizers.base import Featurizer
from das.sites import Site
from evaluation.config.suite import SuiteConfig
from evaluation.records.run_records import RunRecords
from evaluation.report.tables.of_runs import table_of_runs, tables_of_run
from evaluation.scoring.interchange.post_hoc import read_derived
from evaluation.suite.grid import plan_cells, resolve
from evaluation.suite.run import RunRequest, RunSummary, run_suite
from evaluation.tracks import TRACKS
from ravel.common.errors import SuiteError

CARRIED = {"A": (1,), "B": (1, 2)}
"""At which of four layers a swap reaches each attribute's answer."""
TRAINED = {"epochs": 5, "learning_rate": 0.05, "validation_pairs": 0}


class LayeredWorld(PlantedWorld):
    """The planted world over four layers; an answer is read at the layers that carry its attribute, and a
    swap elsewhere changes nothing of it."""

    def __init__(self) -> None:
        super().__init__(0, n_entities=120)
        self.target.model.blocks = nn.ModuleList([nn.Identity() for _ in range(4)])

    def interchange_logits(
        self, pairs: Sequence[ForcedPair], site: Site, featurizer: Featurizer | None
    ) -> Tensor:
        """Logits after the interchange, where it reaches them."""
        swapped = super().interchange_logits(pairs, site, featurizer)
        own = super().interchange_logits(pairs, site, None)
        reached = torch.tensor([site.layer in CARRIED[pair.base.attribute or "A"] for pair in pairs])
        return torch.where(reached[:, None, None], swapped, own)


WORLD = LayeredWorld()
INSTANCE = WORLD.instance(n_pairs=200, n_held_out=80)


def suite(**changes: Any) -> SuiteConfig:
    fields: dict[str, Any] = {
        "instance": "in-memory",
        "methods": [{"name": "mdas", "config": TRAINED}],
        "sites": ["block_output.*@entity_last"],
        "sizes": [2],
        "seeds": [0],
        "generalisations": ["context"],
    }
    return SuiteConfig.from_mapping(fields | changes, origin="a test")


def run(folder: Path, **changes: Any) -> RunSummary:
    return run_suite(RunRequest(suite(**changes), folder, engine=WORLD, instance=INSTANCE))


def fitted(found: RunSummary) -> dict[str, set[str]]:
    """At which sites mdas was fitted, by attribute."""
    sites: dict[str, set[str]] = {}
    for record in found.scores:
        if record.method == "mdas":
            sites.setdefault(record.attribute, set()).add(record.site)
    return sites


@pytest.fixture(scope="module", autouse=True)
def _unpublished() -> Iterator[None]:
    """Leave out tables, figures and page, which take most of the time of a small run."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("evaluation.suite.finish.write_publication", lambda run, records: [])
        patched.setattr("evaluation.suite.finish.write_report", lambda folder, records: folder)
        yield


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    """A run that fits at every site."""
    return run(tmp_path_factory.mktemp("sites") / "run")


def test_transport_keeps_for_each_attribute_the_layer_where_it_parts(tmp_path: Path) -> None:
    found = run(tmp_path / "run", keep_sites=1, site_search="transport")
    assert fitted(found) == {"A": {"block_output.1@entity_last"}, "B": {"block_output.2@entity_last"}}
    tested = [r for r in found.scores if (r.method, r.partition, r.source_kind) == ("mdas", "test", "all")]
    assert len(tested) == 2
    assert min(r.value("cause") or 0 for r in tested) > 0.6
    # References stand at every site that is kept for some attribute.
    assert {r.site for r in found.scores if r.method == "random_subspace"} == {
        f"block_output.{layer}@entity_last" for layer in (1, 2)
    }
    again = run(tmp_path / "run", keep_sites=1, site_search="transport")
    assert again.scores == found.scores


def test_the_profile_keeps_the_layer_where_most_moves(tmp_path: Path) -> None:
    found = run(tmp_path / "run", keep_sites=1)
    assert fitted(found) == {attribute: {"block_output.1@entity_last"} for attribute in ATTRIBUTES}


def test_the_table_tells_what_each_search_would_have_come_to(everywhere: RunSummary) -> None:
    table = table_of_runs([everywhere.folder], "sites")
    rows = {(row.block, row.label): row for row in table.rows}
    assert len(rows) == 6
    for rule in ("full_vector", "transport"):
        fits, regret, worst = rows[rule, "1 of 4"].cells
        assert fits.value == 0.25
        assert regret.value is not None
        assert worst.value is not None
        assert 0 <= regret.value <= worst.value < 0.2
    kept = rows["transport", "1 of 4"]
    assert kept.place.sites == tuple(f"block_output.{layer}@entity_last" for layer in (1, 2))
    # It is about the search: it is made on request only.
    records = RunRecords.open(everywhere.folder)
    published = tables_of_run(records, read_derived(records, TRACKS.get("interchange")))
    assert "main" in {made.name for made in published}
    assert "sites" not in {made.name for made in published}


def test_a_plan_counts_kept_sites_alone() -> None:
    config = resolve(suite(keep_sites=1, site_search="transport"), INSTANCE, WORLD.target)
    assert SuiteConfig.from_yaml(config.to_yaml()) == config
    assert len([c for c in plan_cells(config, INSTANCE, WORLD.target) if c.method == "mdas"]) == 8


def test_transport_between_fewer_than_two_attributes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="two attributes at least"):
        run(tmp_path / "run", keep_sites=1, site_search="transport", attributes=["A"])
    assert not (tmp_path / "run").exists()
