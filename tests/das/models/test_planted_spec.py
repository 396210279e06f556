"""What can be planted and what can't: specifications, their laws and their refusals."""

from __future__ import annotations

from typing import Any

import pytest

from das.models.planted import PlantedSpec, Variable, check_spec, planted_spec, planted_specs
from ravel.common.errors import SuiteError

NAMES = sorted(planted_specs())


def changed(name: str = "small-disjoint", **changes: Any) -> PlantedSpec:
    return planted_spec(name).model_copy(update=changes)


def with_block(*coordinates: int, values: int = 6) -> PlantedSpec:
    """A disjoint world whose first variable has these coordinates."""
    spec = planted_spec("small-disjoint")
    block = Variable(values=values, coordinates=coordinates)
    return spec.model_copy(update={"variables": {**spec.variables, "hue": block}})


@pytest.mark.parametrize("name", NAMES)
def test_known_worlds_can_hold(name: str) -> None:
    check_spec(planted_spec(name))


@pytest.mark.parametrize("name", NAMES)
def test_yaml_and_back(name: str) -> None:
    spec = planted_spec(name)
    assert PlantedSpec.from_yaml(spec.to_yaml()) == spec


def test_every_layout_and_a_hidden_pathway_are_known() -> None:
    specs = planted_specs().values()
    assert {spec.layout for spec in specs} == {"disjoint", "shared", "overlapping"}
    assert len({spec.width for spec in specs}) == 3
    assert any(spec.hidden_pathway for spec in specs)


def test_coordinates_follow_from_variables() -> None:
    spec = planted_spec("small-overlapping")
    assert spec.coordinates("Clan") == (0, 1, 2, 3)
    assert spec.coordinates("Rank") == (2, 3, 4, 5)
    assert spec.coordinates("Shape") == (6, 7)
    assert spec.other_coordinates() == tuple(range(8, 32))


def test_echo_and_dormant_part_are_no_other_coordinates() -> None:
    assert planted_spec("small-hidden").other_coordinates() == tuple(range(10, 32))


def test_more_coordinates_than_the_model_has() -> None:
    with pytest.raises(SuiteError, match=r"at most 32 coordinates.*\[32\]"):
        check_spec(with_block(0, 32))


def test_too_many_coordinates_in_all() -> None:
    wide = {f"v{i}": Variable(values=20, coordinates=tuple(range(8 * i, 8 * i + 8))) for i in range(5)}
    spec = changed(variables=wide, attributes={f"A{i}": (f"v{i}",) for i in range(5)})
    with pytest.raises(SuiteError, match=r"40 coordinates in blocks"):
        check_spec(spec)


def test_blocks_on_top_of_each_other() -> None:
    with pytest.raises(SuiteError, match=r"coordinates \[2\] in variable hue and in variable shape"):
        check_spec(with_block(1, 2))


@pytest.mark.parametrize(
    ("name", "declared", "found"),
    [
        ("small-overlapping", "disjoint", "overlapping"),
        ("small-shared", "disjoint", "shared"),
        ("small-shared", "overlapping", "shared"),
        ("small-disjoint", "shared", "disjoint"),
    ],
)
def test_a_layout_that_is_not_the_declared_one(name: str, declared: str, found: str) -> None:
    with pytest.raises(SuiteError, match=f"subspaces that are {declared}.*{found} ones"):
        check_spec(changed(name, layout=declared))


def test_a_block_larger_than_its_codes_can_span() -> None:
    with pytest.raises(SuiteError, match="since 3 codes span no more"):
        check_spec(with_block(0, 1, 30, values=3))


def test_a_coordinate_twice_in_a_block() -> None:
    with pytest.raises(SuiteError, match="different coordinates"):
        check_spec(with_block(0, 0))


def test_an_unknown_variable() -> None:
    with pytest.raises(SuiteError, match="'taste'"):
        check_spec(changed(attributes={"Hue": ("taste",)}))


@pytest.mark.parametrize("layers", [(3,), (), (1, 7)])
def test_layers_above_which_nothing_can_be_read(layers: tuple[int, ...]) -> None:
    with pytest.raises(SuiteError, match="planted layers from 0 to 2"):
        check_spec(changed(planted_layers=layers))


def test_a_width_that_heads_can_not_share() -> None:
    with pytest.raises(SuiteError, match="width 30 and 4 heads"):
        check_spec(changed(width=30))


def test_a_pathway_of_another_size() -> None:
    spec = planted_spec("small-hidden")
    assert spec.hidden_pathway is not None
    short = spec.hidden_pathway.model_copy(update={"echo": (6,)})
    with pytest.raises(SuiteError, match="2 coordinates each"):
        check_spec(spec.model_copy(update={"hidden_pathway": short}))


def test_unknown_names_list_near_misses() -> None:
    with pytest.raises(SuiteError, match="small-disjoint"):
        planted_spec("smal-disjoint")
    with pytest.raises(SuiteError, match="Hue"):
        planted_spec("small-disjoint").coordinates("Hues")


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(SuiteError, match="layout"):
        PlantedSpec.from_yaml(planted_spec("small-disjoint").to_yaml() + "layuot: shared\n")
