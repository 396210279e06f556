"""Files of suites: settings that came later are in them only where they are set."""

from __future__ import annotations

from typing import Any

import pytest

from evaluation.config.suite import SuiteConfig
from ravel.common.errors import SuiteError

LATER = {"keep_sites", "site_search", "twins", "track", "model_label"}


def suite(**changes: Any) -> SuiteConfig:
    """A suite with some settings changed."""
    settings = {"instance": "-", "methods": ["mdas"], "sites": ["block_output.0@entity_last"]}
    return SuiteConfig.from_mapping(settings | changes, origin="a test")


def test_a_suite_without_them_is_written_as_it_always_was() -> None:
    """Whatever the bases of the config serialise: neither is in its file nor in what is hashed."""
    assert not LATER & {line.partition(":")[0] for line in suite().to_yaml().splitlines()}
    assert not LATER & set(suite().model_dump(mode="json"))
    assert suite(track="interchange") == suite()


@pytest.mark.parametrize(
    "changes",
    [
        {"keep_sites": 2},
        {"keep_sites": 2, "site_search": "transport"},
        {"twins": ("mdas",)},
        {"track": "other"},
        {"model_label": "Ours"},
    ],
)
def test_what_is_set_is_written_and_read_back(changes: dict[str, Any]) -> None:
    config = suite(**changes)
    assert set(changes) <= set(config.model_dump(mode="json"))
    assert SuiteConfig.from_yaml(config.to_yaml()) == config != suite()


def test_a_search_of_sites_that_keeps_none_is_refused() -> None:
    with pytest.raises(SuiteError, match="give keep_sites too"):
        suite(site_search="transport")
