"""What tests of execution share: the run that every other way of carrying it out must equal."""

from __future__ import annotations

import pytest
from cli_world import World
from execution_world import carried_out, suite

from evaluation.suite.run import RunSummary


@pytest.fixture(scope="session")
def serial(world: World, tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    """The suite of `execution_world`, carried out in this process; leave it unchanged."""
    return carried_out(suite(world), tmp_path_factory.mktemp("runs") / "serial")
