"""The grammar of sites and its errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from das.sites import POSITIONS, STREAMS, Position, Site, Stream
from ravel.common.errors import SuiteError


@given(st.integers(0, 999), st.sampled_from(STREAMS), st.sampled_from(POSITIONS), st.integers(0, 99))
def test_what_is_written_is_read(layer: int, stream: Stream, position: Position, head: int) -> None:
    site = Site(layer, stream, position, head if stream == "head_output" else None)
    assert Site.parse(str(site)) == site


def test_a_site_is_the_entitys_last_token_after_a_block_unless_said_otherwise() -> None:
    assert str(Site(3)) == "block_output.3@entity_last"


@pytest.mark.parametrize(
    "text", ["", "block_output", "block_output.x@entity_last", "block_output.-1@entity_last"]
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(SuiteError, match=r"stream\.layer@position"):
        Site.parse(text)


def test_unknown_parts_bring_near_misses() -> None:
    with pytest.raises(SuiteError, match="did you mean 'block_output'"):
        Site.parse("block_outputs.1@entity_last")
    with pytest.raises(SuiteError, match="did you mean 'entity_last'"):
        Site.parse("block_output.1@entity_lst")


def test_a_layer_the_model_lacks_is_refused() -> None:
    Site(3).check(4)
    with pytest.raises(SuiteError, match=r"from 0 to 3.*layer 4"):
        Site(4).check(4)
