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
    "text",
    [
        "",
        "block_output",
        "block_output.x@entity_last",
        "block_output.-1@entity_last",
        "head_output.1.2.3@entity_last",
        "head_output.1.@entity_last",
        "block_output.*@entity_last",
    ],
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(SuiteError, match=r"stream\.layer@position"):
        Site.parse(text)


def test_unknown_parts_bring_near_misses() -> None:
    with pytest.raises(SuiteError, match="did you mean 'block_output'"):
        Site.parse("block_outputs.1@entity_last")
    with pytest.raises(SuiteError, match="did you mean 'entity_last'"):
        Site.parse("block_output.1@entity_lst")


def test_a_head_stands_after_the_layer() -> None:
    site = Site.parse("head_output.3.5@prompt_last")
    assert site == Site(3, "head_output", "prompt_last", head=5)
    assert str(site) == "head_output.3.5@prompt_last"


def test_a_head_belongs_to_its_stream_only() -> None:
    with pytest.raises(SuiteError, match=r"head_output with a head.*head_output\.3\.0@entity_last"):
        Site.parse("head_output.3@entity_last")
    with pytest.raises(SuiteError, match=r"only head_output has heads.*mlp_output\.3@entity_last"):
        Site.parse("mlp_output.3.5@entity_last")
    with pytest.raises(SuiteError, match="only head_output"):
        Site(3, head=0)


def test_sites_are_ordered_by_layer_and_then_by_stream_position_and_head() -> None:
    texts = [
        "head_output.0.2@entity_last",
        "head_output.0.10@entity_last",
        "head_output.0.0@prompt_last",
        "block_output.1@prompt_last",
        "mlp_output.1@entity_last",
    ]
    assert [str(site) for site in sorted(map(Site.parse, reversed(texts)))] == texts


def test_a_layer_the_model_lacks_is_refused() -> None:
    Site(3).check(4)
    for layer in (4, -1):
        with pytest.raises(SuiteError, match=rf"from 0 to 3.*layer {layer}"):
            Site(layer).check(4)


def test_a_head_the_model_lacks_is_refused() -> None:
    site = Site(0, "head_output", head=3)
    site.check(1)
    site.check(1, 4)
    with pytest.raises(SuiteError, match=r"a head from 0 to 2.*head 3 in head_output\.0\.3"):
        site.check(1, 3)
