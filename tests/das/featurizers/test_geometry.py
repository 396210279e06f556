"""Principal angles: hand-computed cosines for every kind of featurizer, and laws of any two subspaces."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from das.featurizers import Activation, Dictionary, MaskedBasis, Subspace, retract
from das.featurizers.geometry import overlap, principal_cosines, written_directions
from ravel.common.errors import SuiteError

UNITS = torch.eye(4)


def dictionary(rows: list[list[float]], mask: list[float]) -> Dictionary:
    """A dictionary whose decoder has these rows."""
    decoder = torch.tensor(rows)
    return Dictionary(
        encoder=decoder.mT.contiguous(),
        encoder_bias=torch.zeros(len(rows)),
        decoder=decoder,
        decoder_bias=torch.zeros(decoder.shape[1]),
        mask=torch.tensor(mask),
        activation=Activation(),
    )


def test_cosines_of_planes_are_those_of_the_angles_between_them() -> None:
    turned = torch.stack([UNITS[:, 0], math.cos(0.3) * UNITS[:, 1] + math.sin(0.3) * UNITS[:, 2]], dim=1)
    cosines = principal_cosines(Subspace(UNITS[:, :2]), Subspace(turned))
    assert cosines.tolist() == pytest.approx([1.0, math.cos(0.3)], abs=1e-6)
    assert overlap(cosines) == pytest.approx((1 + math.cos(0.3) ** 2) / 2, abs=1e-6)


def test_chosen_neurons_and_chosen_columns_span_what_is_swapped() -> None:
    neurons = MaskedBasis(torch.tensor([1.0, 0.0, 0.9, 0.2]))
    assert written_directions(neurons).tolist() == UNITS[:, [0, 2]].double().tolist()
    rotated = MaskedBasis(torch.tensor([0.0, 1.0, 0.0, 0.0]), UNITS.flip(1).contiguous())
    assert principal_cosines(neurons, rotated).tolist() == [1.0]
    assert principal_cosines(neurons, Subspace(UNITS[:, [1]])).tolist() == [0.0]


def test_rows_of_a_dictionary_are_made_orthonormal_and_dependent_ones_count_once() -> None:
    features = dictionary([[3, 0, 0, 0], [1, 1, 0, 0], [2, 2, 0, 0], [0, 0, 0, 1]], [1, 1, 1, 0])
    found = written_directions(features)
    assert found.shape == (4, 2)
    assert principal_cosines(features, Subspace(UNITS[:, :2])).tolist() == pytest.approx([1.0, 1.0])
    assert principal_cosines(features, Subspace(UNITS[:, [3]])).tolist() == pytest.approx([0.0], abs=1e-9)


def test_an_oblique_subspace_counts_where_it_writes() -> None:
    oblique = Subspace.oblique(UNITS[:, [0]] + UNITS[:, [1]], UNITS[:, [0]])
    assert principal_cosines(oblique, Subspace(UNITS[:, [0]])).tolist() == pytest.approx([1.0])


def test_an_empty_part_has_no_angle() -> None:
    empty = Subspace(torch.zeros(4, 0))
    cosines = principal_cosines(empty, Subspace(UNITS[:, :2]))
    assert cosines.tolist() == []
    assert overlap(cosines) is None
    assert (
        overlap(principal_cosines(dictionary([[1.0, 0.0]], [0.0]), dictionary([[1.0, 0.0]], [1.0]))) is None
    )


def test_vectors_of_two_widths_are_refused() -> None:
    with pytest.raises(SuiteError, match="widths 4 and 5"):
        principal_cosines(Subspace(UNITS[:, :2]), Subspace(torch.eye(5)[:, :2]))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 6))
def test_angles_do_not_depend_on_order_or_basis_and_random_parts_overlap_as_by_chance(
    seed: int, first_size: int, second_size: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    bases = [retract(torch.randn(8, k, generator=generator)) for k in (first_size, second_size)]
    turned = bases[0] @ retract(torch.randn(first_size, first_size, generator=generator))
    one, other, same = Subspace(bases[0]), Subspace(bases[1]), Subspace(retract(turned))
    cosines = principal_cosines(one, other)
    assert len(cosines) == min(first_size, second_size)
    assert torch.allclose(cosines, principal_cosines(other, one), atol=1e-6)
    assert torch.allclose(cosines, principal_cosines(same, other), atol=1e-5)
    assert principal_cosines(one, same).tolist() == pytest.approx([1.0] * first_size, abs=1e-5)
    assert bool(((cosines >= 0) & (cosines <= 1)).all())


def test_two_random_subspaces_overlap_by_the_larger_size_over_the_width() -> None:
    generator = torch.Generator().manual_seed(0)
    found = [
        overlap(
            principal_cosines(
                Subspace(retract(torch.randn(20, 3, generator=generator))),
                Subspace(retract(torch.randn(20, 5, generator=generator))),
            )
        )
        for _ in range(300)
    ]
    assert sum(value or 0.0 for value in found) / len(found) == pytest.approx(5 / 20, abs=0.01)
