"""Fixtures of the command line's tests: one small world, made once."""

from __future__ import annotations

import pytest
from cli_world import World, make_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A miniature model, data and an instance as folders; leave them unchanged."""
    return make_world(tmp_path_factory.mktemp("world"))
