"""Scores of tokens: laws that each way must keep, and numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from das.attribution.edges import ContrastRows, edge_scores, edge_sites
from das.attribution.faithfulness import curve_of, faithfulness, n_lowest
from das.attribution.reading import AnswerReader, AskedRow, leaning, masking_id
from das.attribution.rollout import AttentionWeights, rolled_out
from das.attribution.scores import TokenScoreConfig, ranked_places, token_scores
from das.engine import make_engine
from das.engine.base.protocol import ForcedPair
from das.featurizers.masked import MaskedBasis
from das.gradients.rules import GIM, PLAIN
from das.methods.common.attribution import AttributionConfig, pair_attributions
from das.methods.common.contrast import ContrastPair
from das.models import FAMILIES
from das.models.base import TargetModel
from das.sites import POSITIONS, Site
from ravel.common.errors import SuiteError

TargetMaker = Callable[[str], TargetModel]
CONFIG = TokenScoreConfig(steps=64)
ROWS = [AskedRow((1, 9, 30, 42, 17), 11, front=1), AskedRow((7, 8, 60), 5)]


def test_the_leaning_is_the_logit_above_the_mean() -> None:
    logits = torch.tensor([[1.0, 2.0, 6.0]])
    assert leaning(logits, [2]).tolist() == [3.0]
    assert leaning(logits + 100, [2]).tolist() == [3.0]


@pytest.mark.parametrize("name", ["gpt2", "gemma3", "llama"])
def test_integrated_gradients_sum_to_what_masking_everything_changes(
    name: str, target_of: TargetMaker
) -> None:
    reader = AnswerReader(target_of(name))
    masked = masking_id(reader.target.tokenizer)
    for row, scores in zip(ROWS, token_scores(reader, ROWS, "integrated_gradients", CONFIG), strict=True):
        gone = AskedRow(row.ids[: row.front] + (masked,) * row.n_scored, row.answer, row.front)
        change = reader.leanings([row]) - reader.leanings([gone])
        assert float(scores.sum()) == pytest.approx(float(change), rel=0.02, abs=0.01)
        assert scores[: row.front].tolist() == [0.0] * row.front


def test_input_times_gradient_is_the_slope_in_the_embeddings(small_target: TargetModel) -> None:
    embedding = small_target.model.get_input_embeddings()
    masked = masking_id(small_target.tokenizer)
    row = ROWS[0]
    leaf = embedding(torch.tensor([row.ids])).detach().requires_grad_()
    value = leaning(small_target.model(inputs_embeds=leaf).logits[:, -1], [row.answer])
    (slope,) = torch.autograd.grad(value.sum(), leaf)
    expected = ((leaf - embedding(torch.tensor([masked]))) * slope).sum(-1)[0].detach()
    expected[0] = 0.0
    together = token_scores(AnswerReader(small_target), ROWS, "input_x_gradient", CONFIG)[0]
    assert torch.allclose(together.float(), expected, atol=1e-5)
    gim = token_scores(AnswerReader(small_target), ROWS, "gim", CONFIG)[0]
    assert not torch.allclose(gim, together, rtol=0.01)


@pytest.mark.parametrize("name", FAMILIES.names())
def test_weights_of_attention_are_read_in_every_family(name: str, target_of: TargetMaker) -> None:
    target = target_of(name)
    before = target.model(torch.tensor([[3, 4, 5, 6]])).logits
    with torch.no_grad(), AttentionWeights() as kept:
        after = target.model(torch.tensor([[3, 4, 5, 6]])).logits
    assert torch.equal(before, after)
    assert len(kept.weights) == target.n_layers
    for weights in kept.weights:
        assert torch.allclose(weights.sum(-1), torch.ones(1, 4), atol=1e-5)
        assert torch.equal(weights.triu(1), torch.zeros(1, 4, 4))


def test_weights_are_the_same_whatever_attention_runs(target_of: TargetMaker) -> None:
    target = target_of("llama")
    kept: list[list[Tensor]] = []
    for implementation in ("eager", "sdpa"):
        target.model.set_attn_implementation(implementation)
        with torch.no_grad(), AttentionWeights() as one:
            target.model(torch.tensor([[3, 4, 5, 6]]))
        kept.append(one.weights)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*kept, strict=True))


def test_a_roll_out_by_hand() -> None:
    first = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    second = torch.tensor([[1.0, 0.0], [0.2, 0.8]])
    # By layers [[1, 0], [.25, .75]] and [[1, 0], [.1, .9]].
    assert torch.allclose(
        rolled_out([first, second]), torch.tensor([[1.0, 0.0], [0.325, 0.675]], dtype=torch.float64)
    )


def test_a_model_without_readable_attention_is_refused(
    small_target: TargetModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(small_target), "n_layers", 9)
    with pytest.raises(SuiteError, match="one attention in each of the 9 layers"):
        token_scores(AnswerReader(small_target), ROWS[:1], "rollout", CONFIG)


class _Additive(AnswerReader):
    """Leans by the sum of its tokens' ids; 0 is the masked one."""

    def leanings(self, rows: Any) -> Tensor:
        return torch.tensor([float(sum(row.ids)) for row in rows], dtype=torch.float64)


def test_masking_by_hand(small_target: TargetModel) -> None:
    row = AskedRow((100, 1, 4, 3, 2), 5, front=1)
    scores = torch.tensor([0.0, 1.0, 4.0, 3.0, 2.0], dtype=torch.float64)
    (best,) = faithfulness(_Additive(small_target), [row], [scores], 0)
    assert best is not None
    # Without 4, then 3, then 2, then 1, of 110.
    assert best.without_top.tolist() == pytest.approx([4 / 110, 7 / 110, 9 / 110, 10 / 110])
    assert best.comprehensiveness == pytest.approx(30 / 4 / 110)
    # Half of four tokens masked: 1 and 2. More than that: three, for one stays.
    assert best.without_rest.tolist() == pytest.approx([3 / 110] + [6 / 110] * 4)
    (worst,) = faithfulness(_Additive(small_target), [row], [-scores], 0)
    assert worst is not None
    assert worst.comprehensiveness < best.comprehensiveness
    assert worst.sufficiency > best.sufficiency
    away = AskedRow((-100, 1), 5, front=1)
    assert faithfulness(_Additive(small_target), [away], [scores[:2]], 0) == [None]


def test_shares_of_tokens_and_ties() -> None:
    assert [n_lowest(10, share) for share in (0.5, 0.8, 0.9, 0.95, 0.99)] == [5, 8, 9, 9, 9]
    assert [n_lowest(1, share) for share in (0.5, 0.99)] == [0, 0]
    assert ranked_places(torch.tensor([9.0, 1.0, 2.0, 2.0]), AskedRow((1, 2, 3, 4), 0, front=1)) == [2, 3, 1]


def test_a_curve_goes_on_where_all_is_masked(small_target: TargetModel) -> None:
    rows = [AskedRow((1, 2), 0), AskedRow((1, 2, 3), 0)]
    found = faithfulness(_Additive(small_target), rows, [torch.tensor([1.0, 2.0]), torch.arange(3.0)], 0)
    curve = curve_of([one for one in found if one is not None])
    assert curve.tolist() == [pytest.approx([2 / 3, 1, 1]), pytest.approx([0.5, 5 / 6, 1])]


@pytest.mark.parametrize("rules", [PLAIN, GIM], ids=["plain", "gim"])
def test_one_gradient_gives_what_each_site_gives_alone(
    rules: Any, small_target: TargetModel, make_prompt: Callable[..., Any]
) -> None:
    bases = [make_prompt("%s is a city in", "Rome"), make_prompt("Oh, %s: a", "Ulm")]
    sources = [make_prompt("%s is a city in", "Bonn"), make_prompt("So, %s: the", "Rio")]
    engine = make_engine("direct", small_target)
    encoder = engine.encoder  # type: ignore[attr-defined]
    pairs = [
        ContrastRows(
            encoder.encode([base.text])[0].ids,
            encoder.encode([source.text])[0].ids,
            tuple(encoder.position(base, position) for position in POSITIONS),
            tuple(encoder.position(source, position) for position in POSITIONS),
            11,
            12,
        )
        for base, source in zip(bases, sources, strict=True)
    ]
    found = edge_scores(small_target, pairs, rules)
    sites = edge_sites(small_target)
    config = AttributionConfig(gradient="gim" if rules == GIM else "plain")
    neurons = MaskedBasis(torch.zeros(small_target.d_model))
    for site in (Site(0), Site(1, "mlp_output"), Site(2, "attention_output", "prompt_last")):
        for row, (base, source) in enumerate(zip(bases, sources, strict=True)):
            pair = ContrastPair(ForcedPair(base, source, (12,)), source, 11, 12)
            alone = pair_attributions([pair], engine, site, neurons, config=config)[0].sum()
            assert float(found[row, sites.index(site)]) == pytest.approx(float(alone), rel=1e-3, abs=1e-5)
