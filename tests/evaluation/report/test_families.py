"""Families of methods, by name."""

from __future__ import annotations

import pytest
from outcome_world import TRACK

from evaluation.report.common.families import FAMILIES, OTHER, by_family, family_of


@pytest.mark.parametrize(
    ("method", "family"),
    [
        ("mdas", "trained subspaces"),
        ("leace", "closed-form subspaces"),
        ("neurons_anything", "neurons and masks"),
        ("pca_mdbm", "neurons and masks"),
        ("mdbm_sae", "dictionaries"),
        ("sae_l1", "dictionaries"),
        ("lda_whitened", "closed-form subspaces"),
        ("sae_reconstruction", "floors"),
        ("random_subspace", "floors"),
        ("dasher", OTHER),
        ("", OTHER),
    ],
)
def test_a_method_has_one_family(method: str, family: str) -> None:
    assert family_of(method, TRACK.floors) == family


def test_groups_keep_every_method_once_and_floors_last() -> None:
    names = ["zeta", "no_op", "mdas", "das", "sae_l1", "das"]
    grouped = by_family(names, TRACK.floors)
    assert grouped["trained subspaces"] == ["das", "mdas"]
    assert sorted(name for own in grouped.values() for name in own) == sorted(set(names))
    assert list(grouped) == [family for family in FAMILIES if family in grouped]
    assert list(grouped)[-1] == "floors"
    assert by_family(TRACK.floors, TRACK.floors) == {"floors": list(TRACK.floors)}
    assert by_family(["lda", "mdas"], ["mdas", "lda"]) == {"floors": ["mdas", "lda"]}
