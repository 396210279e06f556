"""The diversity ratio: by hand, at both ends, and what can't be told."""

from __future__ import annotations

import pytest
import torch

from das.diagnostics.diversity import Diversity, diversity_ratio
from das.featurizers import Subspace
from das.featurizers.masked import MaskedBasis


def test_a_ratio_by_hand() -> None:
    """Spreads of 1 and 0 beside 2 and 2; the third answer is wanted twice only."""
    swapped = torch.tensor([1.0, 2, 3, 5, 5, 5, 9, 0])[:, None]
    natural = torch.tensor([0.0, 2, 4, 1, 3, 5, 0, 9])[:, None]
    found = diversity_ratio(swapped, natural, [*"aaabbbcc"])
    assert found == Diversity(0.25, 6)
    order = torch.tensor([6, 3, 0, 4, 1, 7, 5, 2])
    mixed = diversity_ratio(swapped[order], natural[order], [[*"aaabbbcc"][place] for place in order])
    assert mixed.ratio == pytest.approx(0.25)


def test_spreads_are_averaged_over_coordinates() -> None:
    swapped = torch.tensor([[1.0, 0], [2, 0], [3, 0]])
    natural = torch.tensor([[0.0, 1], [2, 3], [4, 5]])
    assert diversity_ratio(swapped, natural, [*"aaa"]).ratio == pytest.approx(0.25)


def test_a_table_of_answers_has_none_and_doing_nothing_all_of_it() -> None:
    stream = torch.Generator().manual_seed(0)
    base, source = torch.randn(2, 600, 8, generator=stream)
    answers = [str(place % 3) for place in range(600)]
    table = torch.eye(8)[[int(answer) for answer in answers]]
    assert diversity_ratio(table, source, answers).ratio == 0
    for size, featurizer in ((0, MaskedBasis(torch.zeros(8))), (3, Subspace(torch.eye(8)[:, :3]))):
        ratio = diversity_ratio(featurizer.interchange(base, source), source, answers).ratio
        assert ratio == pytest.approx(1.0, abs=0.05), size


@pytest.mark.parametrize("answers", [[*"ab"], [], [*"abcd"]])
def test_without_three_pairs_of_an_answer_there_is_no_ratio(answers: list[str]) -> None:
    states = torch.arange(2.0 * len(answers)).reshape(len(answers), 2)
    assert diversity_ratio(states, states, answers) == Diversity(None, 0)


def test_natural_states_that_do_not_vary_give_no_ratio() -> None:
    swapped = torch.arange(6.0).reshape(3, 2)
    assert diversity_ratio(swapped, torch.ones(3, 2), [*"aaa"]) == Diversity(None, 3)
