"""Autoencoders from running text: which states are gathered, what is trained, measured and read again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from das.dictionary_training import gathered, training
from das.dictionary_training.rows import TextRows, text_rows
from das.dictionary_training.settings import TextSaeConfig
from das.dictionary_training.states import gather_states, mean_loss
from das.dictionary_training.storage import hook_of, save_lens
from das.dictionary_training.training import TextSae, train_text_sae
from das.featurizers.dictionary import Dictionary
from das.methods.dictionaries._autoencoder import train_dictionary
from das.methods.dictionaries._pretrained_sae import load_pretrained
from das.models.base import TargetModel
from das.sites import Site
from ravel.common.errors import SuiteError
from ravel.common.seeds import python_stream

SITE = Site(layer=1)
WORDS = ("the", "of", "city", "river", "lies", "in", "north", "and", "a", "king", "was", "born", "old")


def _documents(n: int = 30) -> list[str]:
    stream = python_stream(0, "documents")
    return [" ".join(stream.choices(WORDS, k=30)) for _ in range(n)]


def _config(**changes: Any) -> TextSaeConfig:
    quick: dict[str, Any] = {"expansion": 2, "k": 4, "row_tokens": 16, "tokens": 2500, "batch_size": 64}
    quick |= {"held_out_tokens": 500, "recovered_tokens": 128, "learning_rate": 5e-3, "epochs": 3}
    return TextSaeConfig(**(quick | changes))


def _trained(target: TargetModel, **changes: Any) -> TextSae:
    config = _config(**changes)
    return train_text_sae(target, SITE, text_rows(_documents(), target, config), config)


def _hash(dictionary: Dictionary) -> str:
    tensors = [tensor.numpy().tobytes() for _, tensor in sorted(dictionary.named_buffers())]
    return hashlib.sha256(b"".join(tensors)).hexdigest()


@pytest.fixture(scope="module")
def rows(small_target: TargetModel) -> TextRows:
    return text_rows(_documents(), small_target, _config())


# --- rows


def test_rows_have_one_length_and_sides_share_no_document(small_target: TargetModel) -> None:
    # Each document is of one letter of its own.
    documents = [letter * 50 for letter in "abcdefghij"]
    found = text_rows(documents, small_target, _config(held_out_tokens=90))
    assert {len(row) for row in (*found.training, *found.held_out)} == {16}
    special = set(small_target.tokenizer.all_special_ids)
    sides = [{t for row in side for t in row} - special for side in (found.training, found.held_out)]
    assert sides[0]
    assert sides[1]
    assert not sides[0] & sides[1]


def test_no_more_rows_than_states_are_wanted(small_target: TargetModel) -> None:
    found = text_rows(_documents(), small_target, _config(tokens=100, held_out_tokens=31))
    assert (len(found.training), len(found.held_out)) == (7, 3)


@pytest.mark.parametrize("documents", [["a"], ["a" * 9, "b" * 9], ["a" * 500], [" ", "\n"], []])
def test_too_few_tokens_are_refused(small_target: TargetModel, documents: list[str]) -> None:
    with pytest.raises(SuiteError, match="a text that fills a row of 16 tokens"):
        text_rows(documents, small_target, _config())


def test_rows_longer_than_the_model_reads_are_refused(small_target: TargetModel) -> None:
    assert small_target.max_tokens is not None
    with pytest.raises(SuiteError, match="rows of at most"):
        text_rows(_documents(), small_target, _config(row_tokens=small_target.max_tokens + 1))


# --- states


def test_states_are_the_model_s_own_without_first_and_special_tokens(
    small_target: TargetModel, rows: TextRows
) -> None:
    some = rows.held_out
    found = gather_states(small_target, SITE, some, most=10_000, dtype=torch.float32)
    ids = torch.tensor(some)
    with torch.no_grad():
        whole = small_target.model(input_ids=ids, output_hidden_states=True).hidden_states[SITE.layer + 1]
    special = torch.tensor(small_target.tokenizer.all_special_ids)
    plain = ~torch.isin(ids, special)
    assert not bool(plain[:, 1:].all())
    plain[:, 0] = False
    assert torch.equal(found, whole[plain])


def test_states_are_bounded_in_number_and_norm(small_target: TargetModel, rows: TextRows) -> None:
    every = gather_states(small_target, SITE, rows.training, most=10_000, dtype=torch.float32)
    assert torch.equal(gather_states(small_target, SITE, rows.training, most=37), every[:37].bfloat16())
    bound = float(every.norm(dim=1).median())
    within = gather_states(
        small_target, SITE, rows.training, most=37, largest_norm=bound, dtype=torch.float32
    )
    assert torch.equal(within, every[every.norm(dim=1) <= bound][:37])


def test_a_layer_that_does_not_exist_is_refused(small_target: TargetModel, rows: TextRows) -> None:
    with pytest.raises(SuiteError, match="layer 9"):
        gather_states(small_target, Site(layer=9), rows.training, most=10)


def test_the_mean_loss_is_the_model_s_own(small_target: TargetModel, rows: TextRows) -> None:
    some = rows.held_out[:4]
    ids = torch.tensor(some)
    with torch.no_grad():
        logits = small_target.model(input_ids=ids).logits
    expected = functional.cross_entropy(logits[:, 1:-1].flatten(0, 1), ids[:, 2:].flatten())
    assert mean_loss(small_target, SITE, some) == pytest.approx(float(expected), rel=1e-6)
    assert mean_loss(small_target, SITE, some, lambda old: old) == mean_loss(small_target, SITE, some)
    assert mean_loss(small_target, SITE, some, torch.zeros_like) != mean_loss(small_target, SITE, some)


# --- training


@pytest.mark.parametrize("architecture", ["top_k", "jump_relu"])
def test_equal_arguments_give_equal_bits(small_target: TargetModel, architecture: str) -> None:
    one, same = (_trained(small_target, architecture=architecture) for _ in range(2))
    assert _hash(one.dictionary) == _hash(same.dictionary)
    assert (one.metrics, one.losses) == (same.metrics, same.losses)
    assert _hash(_trained(small_target, architecture=architecture, seed=1).dictionary) != _hash(
        one.dictionary
    )


def test_explained_variance_grows_with_k(small_target: TargetModel) -> None:
    explained = [_trained(small_target, k=k).metrics.explained_variance for k in (1, 4, 16)]
    assert explained[0] + 0.02 < explained[1] < explained[2] - 0.02
    assert explained[2] > 0.8


def test_half_precision_learns_as_much(small_target: TargetModel) -> None:
    # A copy of the weights in half precision that is kept from step to step would learn nothing.
    half, full = (
        _trained(small_target, k=8, precision=one, products=one).metrics.explained_variance
        for one in ("bfloat16", "float32")
    )
    assert half == pytest.approx(full, abs=0.03)


def test_half_precision_of_states_alone_leaves_products_whole(
    small_target: TargetModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[torch.dtype] = []

    def noted(*given: Any, products: torch.dtype, **others: Any) -> Dictionary:
        asked.append(products)
        return train_dictionary(*given, products=products, **others)

    monkeypatch.setattr(training, "train_dictionary", noted)
    for products in ("float32", "bfloat16"):
        _trained(small_target, precision="bfloat16", products=products, epochs=1, recovered_tokens=0)
    assert TextSaeConfig().products == "float32"
    assert asked == [torch.float32, torch.bfloat16]


def test_kept_states_are_taken_again(
    small_target: TargetModel, rows: TextRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = gathered.kept_states(small_target, SITE, rows, _config(), folder=tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(b"damaged")
    again = gathered.kept_states(small_target, SITE, rows, _config(), folder=tmp_path)
    # Neither k nor the rate changes what is gathered, the seed may.
    monkeypatch.setattr(gathered, "gather_states", lambda *_, **__: pytest.fail("gathered again"))
    other = _config(k=7, learning_rate=1.0)
    kept = gathered.kept_states(small_target, SITE, rows, other, folder=tmp_path)
    for found in (again, kept):
        assert torch.equal(found.training, first.training)
        assert torch.equal(found.held_out, first.held_out)
        assert (found.largest_norm, found.beyond) == (first.largest_norm, first.beyond)
    with pytest.raises(pytest.fail.Exception, match="gathered again"):
        gathered.kept_states(small_target, SITE, rows, _config(seed=1), folder=tmp_path)


def test_an_interrupted_gathering_goes_on_from_its_last_piece(
    small_target: TargetModel, rows: TextRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = gathered.kept_states(small_target, SITE, rows, _config())
    monkeypatch.setattr(gathered, "_PIECE_PASSES", 1)
    monkeypatch.setattr(gathered, "pass_rows", lambda length: 40)
    asked: list[int] = []

    def until_the_third(*place: Any, **settings: Any) -> Tensor:
        asked.append(len(place[2]))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return gather_states(*place, **settings)

    monkeypatch.setattr(gathered, "gather_states", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        gathered.kept_states(small_target, SITE, rows, _config(), folder=tmp_path)
    told: list[tuple[str, int, int]] = []
    in_pieces = gathered.kept_states(
        small_target, SITE, rows, _config(), folder=tmp_path, told=lambda *said: told.append(said)
    )
    # Of the held-out rows and the first 40 nothing is asked again.
    assert asked[:2] == [len(rows.held_out), 40]
    assert sum(asked[3:]) == len(rows.training) - 40
    assert torch.equal(in_pieces.training, at_once.training)
    every = len(rows.training) * 16
    assert told[0][1] > 40 * 16
    assert told[-1] == ("tokens", every, every)


def test_top_k_has_exactly_k_latents(small_target: TargetModel, rows: TextRows) -> None:
    states = gather_states(small_target, SITE, rows.held_out, most=500, dtype=torch.float32)
    fires = (_trained(small_target, k=3).dictionary.encode(states) != 0).sum(dim=1)
    assert set(fires.tolist()) == {3}


def test_thresholds_of_jump_relu_are_positive(small_target: TargetModel, rows: TextRows) -> None:
    dictionary = _trained(small_target, architecture="jump_relu").dictionary
    assert dictionary.threshold is not None
    assert bool((dictionary.threshold > 0).all())
    states = gather_states(small_target, SITE, rows.held_out, most=500, dtype=torch.float32)
    features = dictionary.encode(states)
    assert bool(((features == 0) | (features > dictionary.threshold)).all())
    assert bool((features > 0).any())


def test_rows_of_the_decoder_have_norm_1(small_target: TargetModel) -> None:
    norms = _trained(small_target).dictionary.decoder.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


def test_states_of_a_huge_norm_are_told_and_left_out(small_target: TargetModel) -> None:
    found = _trained(small_target, norm_factor=1.0)
    assert found.beyond == pytest.approx(0.5, abs=0.01)
    assert _trained(small_target).beyond == 0.0


def test_losses_lie_between_the_model_and_zeros(small_target: TargetModel) -> None:
    found = _trained(small_target, k=16).losses
    assert found is not None
    assert found.recovered == (found.zero - found.reconstructed) / (found.zero - found.as_is)
    assert _trained(small_target, recovered_tokens=0).losses is None


# --- what is saved


@pytest.mark.parametrize("architecture", ["top_k", "jump_relu"])
def test_a_saved_autoencoder_is_read_as_it_was_trained(
    small_target: TargetModel, rows: TextRows, tmp_path: Path, architecture: str
) -> None:
    sae = _trained(small_target, architecture=architecture)
    save_lens(sae, tmp_path, target=small_target, site=SITE)
    read = load_pretrained(f"lens:{tmp_path}", SITE, small_target)
    states: Tensor = gather_states(small_target, SITE, rows.held_out, most=500, dtype=torch.float32)
    features = sae.dictionary.encode(states)
    assert torch.equal(read.dictionary.encode(states), features)
    assert torch.equal(read.dictionary.decode(features), sae.dictionary.decode(features))
    assert (read.mean_free, read.unsure_of_mean, read.notes) == (False, False, ())
    assert read.published is not None
    assert read.published.explained_variance == sae.metrics.explained_variance
    assert read.published.l0 == sae.metrics.l0


def test_it_is_refused_at_another_layer(small_target: TargetModel, tmp_path: Path) -> None:
    save_lens(_trained(small_target), tmp_path, target=small_target, site=SITE)
    with pytest.raises(SuiteError, match=r"block_output\.2"):
        load_pretrained(f"lens:{tmp_path}", Site(layer=2), small_target)


def test_a_head_has_no_name_in_sae_lens() -> None:
    assert hook_of(Site(layer=3, stream="mlp_output")) == "blocks.3.hook_mlp_out"
    with pytest.raises(SuiteError, match="head_output"):
        hook_of(Site(layer=3, stream="head_output", head=0))
