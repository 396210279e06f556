"""Angles on the planted world: few pairs bring a fit near to the truth, and its cost is said."""

from __future__ import annotations

from beyond_mdas import PLANTED, SETTINGS, planted_table

from das.methods.registry import METHODS


def test_angles_on_the_planted_world() -> None:
    head, _, row = planted_table(1, quick=True).strip().splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(cells) == len(head.strip("|").split("|"))
    assert cells[0] == "emulated_mdas"
    passes, similarity, angle = int(cells[2].replace(",", "")), float(cells[3]), float(cells[4])
    # Three attributes; 60 cause pairs and what is put together of them.
    assert 0 < passes <= 3 * 2 * 340
    assert similarity > 0.9
    assert 0 < angle < 30


def test_every_setting_is_one_of_its_method() -> None:
    for method, _, setting in (*SETTINGS, *PLANTED):
        METHODS.get(method).config_class.from_mapping(setting, origin="the benchmark")
