"""The laws of the interchange over every featurizer, orthonormality through training, and featurizers on
disk."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from das.featurizers import (
    Activation,
    Complement,
    Dictionary,
    Featurizer,
    FeaturizerHeader,
    MaskedBasis,
    ReversibleMap,
    Subspace,
    load_featurizer,
    retract,
    save_featurizer,
)
from das.featurizers.coordinate_maps import CoordinateMap, Monotone, RevNet
from das.featurizers.orthonormal import TOLERANCE, deviation
from das.sites import Site
from das.threads import using_threads
from das.training.trainable import TrainableSubspace
from ravel.common.errors import SuiteError

D, K, M = 12, 4, 30

HEADER = FeaturizerHeader(
    method="das",
    attribute="Country",
    entity_type="city",
    site=Site(2),
    seed=5,
    model="miniature-qwen2",
    target_fingerprint="a" * 64,
    instance_fingerprint="b" * 64,
)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def dictionary(seed: int, mask: Tensor, activation: Activation) -> Dictionary:
    return Dictionary(
        encoder=normal(seed, D, M),
        encoder_bias=normal(seed + 1, M),
        decoder=normal(seed + 2, M, D),
        decoder_bias=normal(seed + 3, D),
        mask=mask,
        activation=activation,
        centre=normal(seed + 4, D),
    )


def half(n: int) -> Tensor:
    return (torch.arange(n) % 2).float()


def couplings(seed: int, d: int = D, blocks: int = 2) -> RevNet:
    h, half_d = 7, d // 2
    shapes = {
        "first_in": (blocks, h, d - half_d),
        "first_bias": (blocks, h),
        "first_out": (blocks, half_d, h),
        "second_in": (blocks, h, half_d),
        "second_bias": (blocks, h),
        "second_out": (blocks, d - half_d, h),
    }
    weights = {name: normal(seed + at, *shape) for at, (name, shape) in enumerate(shapes.items())}
    return RevNet({**units(seed, d), "rotation": retract(normal(seed + 20, d, d)), **weights})


def bends(seed: int, d: int = D, blocks: int = 2) -> Monotone:
    rotations = torch.stack([retract(normal(seed + 30 + at, d, d)) for at in range(blocks + 1)])
    names = ("knots", "below", "above")
    weights = {name: normal(seed + at, blocks, d) for at, name in enumerate(names)}
    return Monotone({**units(seed, d), "rotations": rotations, **weights})


def units(seed: int, d: int) -> dict[str, Tensor]:
    return {"centre": normal(seed + 10, d), "scale": torch.tensor(1.3)}


LINEAR: dict[str, Callable[[int], Featurizer]] = {
    "subspace": lambda seed: Subspace(retract(normal(seed, D, K))),
    "neurons": lambda seed: MaskedBasis(half(D)),
    "rotated": lambda seed: MaskedBasis(half(D), retract(normal(seed, D, D))),
}
DICTIONARIES: dict[str, Callable[[int], Featurizer]] = {
    "relu": lambda seed: dictionary(seed, half(M), Activation("relu")),
    "top_k": lambda seed: dictionary(seed, half(M), Activation("top_k", k=5)),
    "jump_relu": lambda seed: dictionary(
        seed, half(M), Activation("jump_relu", threshold=normal(seed, M).abs())
    ),
}
REVERSIBLE: dict[str, Callable[[int], Featurizer]] = {
    "revnet": lambda seed: ReversibleMap(couplings(seed), K),
    "monotone": lambda seed: ReversibleMap(bends(seed), K),
}
EVERY = LINEAR | DICTIONARIES | REVERSIBLE
EMPTY: dict[str, Callable[[int], Featurizer]] = {
    "subspace": lambda seed: Subspace(torch.zeros(D, 0)),
    "neurons": lambda seed: MaskedBasis(torch.zeros(D)),
    "rotated": lambda seed: MaskedBasis(torch.zeros(D), retract(normal(seed, D, D))),
    "dictionary": lambda seed: dictionary(seed, torch.zeros(M), Activation("relu")),
    "revnet": lambda seed: ReversibleMap(couplings(seed), 0),
    "monotone": lambda seed: ReversibleMap(bends(seed), 0),
}
FULL: dict[str, Callable[[int], Featurizer]] = {
    "subspace": lambda seed: Subspace(retract(normal(seed, D, D))),
    "neurons": lambda seed: MaskedBasis(torch.ones(D)),
    "rotated": lambda seed: MaskedBasis(torch.ones(D), retract(normal(seed, D, D))),
    "revnet": lambda seed: ReversibleMap(couplings(seed), D),
    "monotone": lambda seed: ReversibleMap(bends(seed), D),
}
seeds = st.integers(0, 2**31)
scales = st.sampled_from([1e-3, 1.0, 1e3])


@pytest.mark.parametrize("kind", EVERY)
@settings(max_examples=15, deadline=None)
@given(seed=seeds, scale=scales)
def test_a_vector_swapped_with_itself_is_itself(kind: str, seed: int, scale: float) -> None:
    x = normal(seed, 3, D) * scale
    assert torch.equal(EVERY[kind](seed).interchange(x, x), x)


@pytest.mark.parametrize("kind", EMPTY)
@settings(max_examples=15, deadline=None)
@given(seed=seeds, scale=scales)
def test_an_empty_choice_returns_the_base(kind: str, seed: int, scale: float) -> None:
    base, source = normal(seed, 3, D) * scale, normal(seed + 1, 3, D) * scale
    featurizer = EMPTY[kind](seed)
    assert featurizer.size == 0
    assert torch.equal(featurizer.interchange(base, source), base)


@pytest.mark.parametrize("kind", FULL)
@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_a_full_choice_of_an_invertible_featurizer_returns_the_source(kind: str, seed: int) -> None:
    base, source = normal(seed, 3, D), normal(seed + 1, 3, D)
    featurizer = FULL[kind](seed)
    assert featurizer.size == D
    torch.testing.assert_close(featurizer.interchange(base, source), source, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", LINEAR)
@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_linear_swaps_are_idempotent_and_leave_the_complement(kind: str, seed: int) -> None:
    base, source = normal(seed, 3, D), normal(seed + 1, 3, D)
    featurizer = LINEAR[kind](seed)
    once = featurizer.interchange(base, source)
    torch.testing.assert_close(featurizer.interchange(once, source), once, rtol=0, atol=1e-5)
    chosen, there = featurizer.mask() > 0, featurizer.encode(once)
    torch.testing.assert_close(there[:, chosen], featurizer.encode(source)[:, chosen], rtol=0, atol=1e-5)
    complement = once - featurizer.decode(featurizer.mask() * there)
    torch.testing.assert_close(
        complement, base - featurizer.decode(featurizer.mask() * featurizer.encode(base)), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("make", [couplings, bends])
@pytest.mark.parametrize("d", [1, 2, 7, D])
@settings(max_examples=15, deadline=None)
@given(seed=seeds, blocks=st.integers(1, 3))
def test_the_way_back_of_a_map_is_exact_both_ways(
    make: Callable[..., CoordinateMap], d: int, seed: int, blocks: int
) -> None:
    found, x = make(seed, d, blocks), normal(seed + 1, 40, d)
    assert ReversibleMap(found, d).inverse_error(x) < 1e-5
    torch.testing.assert_close(found.encode(found.decode(x)), x, rtol=0, atol=1e-5)
    # A map that is linear after all would be none of those that this is about.
    middle = found.encode((x[:1] + x[1:]) / 2) - (found.encode(x[:1]) + found.encode(x[1:])) / 2
    assert d == 1 or float(middle.abs().max()) > 1e-3


@pytest.mark.parametrize("kind", REVERSIBLE)
@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_swaps_by_a_map_are_idempotent_and_leave_its_other_coordinates(kind: str, seed: int) -> None:
    base, source = normal(seed, 3, D), normal(seed + 1, 3, D)
    featurizer = REVERSIBLE[kind](seed)
    once = featurizer.interchange(base, source)
    close = partial(torch.testing.assert_close, rtol=0, atol=2e-5)
    close(featurizer.interchange(once, source), once)
    there = featurizer.encode(once)
    close(there[:, :K], featurizer.encode(source)[:, :K])
    close(there[:, K:], featurizer.encode(base)[:, K:])
    assert float((once - base).abs().max()) > 1e-3


def test_couplings_by_hand() -> None:
    """One block on two coordinates, one hidden unit each: y1 = x1 + 2 tanh(x2), y2 = x2 - tanh(y1)."""
    one = torch.ones(1, 1, 1)
    found = RevNet(
        {
            "centre": torch.zeros(2),
            "scale": torch.tensor(1.0),
            "rotation": torch.eye(2),
            "first_in": one,
            "first_bias": torch.zeros(1, 1),
            "first_out": 2 * one,
            "second_in": one,
            "second_bias": torch.zeros(1, 1),
            "second_out": -one,
        }
    )
    # tanh(atanh(1/2)) = 1/2, so y1 = 0.3 + 1 = 1.3.
    x = torch.tensor([0.3, math.atanh(0.5)])
    expected = [1.3, math.atanh(0.5) - math.tanh(1.3)]
    assert found.encode(x).tolist() == pytest.approx(expected, abs=1e-6)


def test_a_bend_by_hand() -> None:
    """Knots at 1 and 0; above, slopes of sqrt 2 and 1; below, of 1 and 1 / sqrt 2; units of 2 around (1,
    1)."""
    half = math.atanh(0.5)
    found = Monotone(
        {
            "centre": torch.ones(2),
            "scale": torch.tensor(2.0),
            "rotations": torch.eye(2).expand(2, 2, 2),
            "knots": torch.tensor([[1.0, 0.0]]),
            "below": torch.tensor([[0.0, -half]]),
            "above": torch.tensor([[half, 0.0]]),
        }
    )
    # (7, -7) is (3, -4): 2 above the first knot, 4 below the second.
    expected = [1 + 2 * math.sqrt(2), -4 / math.sqrt(2)]
    assert found.encode(torch.tensor([7.0, -7.0])).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("kind", EVERY)
@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_a_complement_swaps_what_its_featurizer_leaves(kind: str, seed: int) -> None:
    base, source = normal(seed, 3, D), normal(seed + 1, 3, D)
    featurizer = EVERY[kind](seed)
    complement = Complement(featurizer)
    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-4)
    close(complement.interchange(base, source), featurizer.interchange(source, base))
    close(Complement(complement).interchange(base, source), featurizer.interchange(base, source))
    assert torch.equal(complement.interchange(base, base), base)
    if kind in LINEAR:
        # What the one brings and what the other brings is all that there is to bring.
        both = complement.interchange(base, source) + featurizer.interchange(base, source)
        close(both, base + source)


@pytest.mark.parametrize("rotated", [False, True])
def test_the_complement_of_nothing_is_everything_and_the_reverse(rotated: bool) -> None:
    base, source = normal(0, 3, D), normal(1, 3, D)
    kind = "rotated" if rotated else "neurons"
    nothing, everything = EMPTY[kind](2), FULL[kind](2)
    torch.testing.assert_close(
        Complement(nothing).interchange(base, source), everything.interchange(base, source)
    )
    torch.testing.assert_close(Complement(everything).interchange(base, source), base)


def test_complements_by_hand() -> None:
    base, source = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[10.0, 20.0, 30.0]])
    first = Subspace(torch.tensor([[1.0], [0.0], [0.0]]))
    assert Complement(first).interchange(base, source).tolist() == [[1.0, 20.0, 30.0]]
    # Read along the first coordinate alone, written along the diagonal: (I - P)(9, 18, 27) = (0, 9, 27).
    readers, writers = torch.tensor([[1.0], [0.0], [0.0]]), torch.tensor([[1.0], [1.0], [0.0]])
    oblique = Complement(Subspace.oblique(readers, writers)).interchange(base, source)
    torch.testing.assert_close(oblique, torch.tensor([[1.0, 11.0, 30.0]]))
    # A quarter of the second neuron comes with the featurizer, three quarters with its complement.
    soft = Complement(MaskedBasis(torch.tensor([1.0, 0.25, 0.0])))
    assert soft.interchange(base, source).tolist() == [[1.0, 15.5, 30.0]]
    assert (soft.width, soft.keeps_error) == (3, True)


def test_the_complement_of_a_dictionary_brings_the_other_features_and_the_error() -> None:
    # Two features that read and write the first two coordinates; of the third nothing is encoded.
    lossy = Dictionary(
        encoder=torch.eye(3)[:, :2],
        encoder_bias=torch.zeros(2),
        decoder=torch.eye(3)[:2],
        decoder_bias=torch.zeros(3),
        mask=torch.tensor([1.0, 0.0]),
        activation=Activation("relu"),
    )
    base, source = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[10.0, 20.0, 30.0]])
    assert lossy.interchange(base, source).tolist() == [[10.0, 2.0, 3.0]]
    assert Complement(lossy).interchange(base, source).tolist() == [[1.0, 20.0, 30.0]]


def test_a_complement_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="the complement of a subspace"):
        save_featurizer(Complement(Subspace(torch.eye(D)[:, :K])), tmp_path, HEADER)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_the_result_has_the_bases_dtype(kind: str, dtype: torch.dtype) -> None:
    base, source = normal(0, 2, 3, D).to(dtype), normal(1, 2, 3, D)
    swapped = EVERY[kind](0).interchange(base, source)
    assert swapped.dtype == dtype
    assert swapped.shape == base.shape


def test_a_swap_by_hand() -> None:
    """Along (0.6, 0.8): base (5, 0) has 3, source (0, 10) has 8; the difference 5 is added along it: (8,
    4)."""
    subspace = Subspace(torch.tensor([[0.6], [0.8]]))
    swapped = subspace.interchange(torch.tensor([5.0, 0.0]), torch.tensor([0.0, 10.0]))
    torch.testing.assert_close(swapped, torch.tensor([8.0, 4.0]))
    half_swapped = MaskedBasis(torch.tensor([0.5, 0.0])).interchange(
        torch.tensor([5.0, 0.0]), torch.tensor([1.0, 10.0])
    )
    torch.testing.assert_close(half_swapped, torch.tensor([3.0, 0.0]))


def test_activations_by_hand() -> None:
    def features(activation: Activation) -> list[float]:
        eye = torch.eye(4)
        made = Dictionary(
            encoder=eye,
            encoder_bias=torch.zeros(4),
            decoder=eye,
            decoder_bias=torch.zeros(4),
            mask=torch.ones(4),
            activation=activation,
        )
        return made.encode(torch.tensor([3.0, -5.0, 1.0, 2.0])).tolist()

    assert features(Activation("relu")) == [3, 0, 1, 2]
    assert features(Activation("top_k", k=2)) == [3, 0, 0, 2]
    assert features(Activation("top_k", k=9)) == [3, 0, 1, 2]
    thresholds = torch.tensor([3.0, -6.0, 0.5, 2.5])
    assert features(Activation("jump_relu", threshold=thresholds)) == [0, -5, 1, 0]


def test_what_a_dictionary_loses_stays_with_the_base() -> None:
    featurizer = dictionary(3, torch.ones(M), Activation("relu"))
    base, source = normal(8, 2, D), normal(9, 2, D)
    error = base - featurizer.decode(featurizer.encode(base))
    swapped = featurizer.interchange(base, source)
    torch.testing.assert_close(
        swapped, featurizer.decode(featurizer.encode(source)) + error, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Subspace(torch.zeros(3, 4)), "k at most d_model"),
        (lambda: Subspace(torch.ones(3, 2)), "orthonormal columns"),
        (lambda: Subspace(torch.full((3, 2), torch.nan)), "deviation of inf"),
        (lambda: MaskedBasis(torch.full((3,), 1.5)), "entries from 0 to 1"),
        (lambda: MaskedBasis(torch.full((3,), torch.nan)), "entries from 0 to 1"),
        (lambda: MaskedBasis(torch.ones(3, 3)), "of shape"),
        (lambda: MaskedBasis(torch.ones(3), torch.eye(4)), "square basis"),
        (lambda: MaskedBasis(torch.ones(3), 2 * torch.eye(3)), "orthonormal columns"),
        (lambda: dictionary(0, torch.ones(M + 1), Activation("relu")), "weights of shape"),
        (lambda: dictionary(0, -torch.ones(M), Activation("relu")), "from 0 to 1"),
        (lambda: Activation("top_k"), "k of at least 1"),
        (lambda: Activation("relu", k=3), "no k for any other"),
        (lambda: Activation("jump_relu"), "thresholds for jump_relu"),
        (lambda: Activation("relu", threshold=torch.ones(2)), "none for any other"),
        (lambda: Activation("rleu"), "did you mean 'relu'"),
        (lambda: retract(torch.ones(2, 3)), "as many columns as rows"),
        (lambda: ReversibleMap(couplings(0), D + 1), "from 0 to 12"),
        (lambda: _changed(couplings(0), rotation=2 * torch.eye(D)), "orthonormal columns"),
        (lambda: _changed(couplings(0), scale=torch.tensor(0.0)), "a scale above 0"),
        (lambda: _changed(couplings(0), first_out=torch.zeros(2, 3, 7)), "tensors of a revnet map"),
        (lambda: _changed(bends(0), first_out=torch.zeros(2, 3, 7)), "tensors of a monotone map"),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        make()


def _changed(found: CoordinateMap, **tensors: Tensor) -> CoordinateMap:
    return type(found)({**dict(found.named_buffers()), **tensors})


@settings(max_examples=25, deadline=None)
@given(seed=seeds, scale=scales, k=st.integers(0, D))
def test_retraction_gives_orthonormal_columns_of_the_same_spans(seed: int, scale: float, k: int) -> None:
    matrix = normal(seed, D, k) * scale
    q = retract(matrix)
    assert deviation(q) <= TOLERANCE
    torch.testing.assert_close(retract(q), q, rtol=0, atol=1e-5)
    torch.testing.assert_close(q @ (q.mT @ matrix), matrix, rtol=1e-4, atol=1e-4 * scale)


def test_retraction_has_the_gradient_of_finite_differences() -> None:
    matrix = normal(0, 6, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(retract, (matrix,))


@pytest.mark.parametrize("k", [24, 32, 64])
def test_retraction_and_its_gradient_are_the_same_bits_with_two_threads(k: int) -> None:
    """Of sizes for which LAPACK's own threads would add up in another order."""
    found = []
    for threads in (1, 2):
        with using_threads(threads):
            matrix = normal(0, 128, k).requires_grad_()
            columns = retract(matrix)
            (columns * normal(1, 128, k)).sum().backward()
            assert torch.get_num_threads() == threads
        assert matrix.grad is not None
        found.append((columns.detach(), matrix.grad))
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("rate", [1e-3, 1e-1, 10.0])
def test_columns_stay_orthonormal_after_every_step(rate: float) -> None:
    rotation, goal = TrainableSubspace(normal(0, D, K)), Subspace(retract(normal(1, D, K)))
    optimiser = torch.optim.AdamW(rotation.parameters(), lr=rate, weight_decay=0.0)
    losses = []
    for step in range(60):
        base, source = normal(step, 16, D), normal(step + 500, 16, D)
        swapped = rotation.current().interchange(base, source)
        loss = (swapped - goal.interchange(base, source)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rotation.after_step(step / 60)
        losses.append(loss.item())
        assert deviation(rotation.weight) <= TOLERANCE
    if rate == 1e-1:
        assert sum(losses[-5:]) < 0.1 * sum(losses[:5])


@pytest.mark.parametrize("kind", EVERY)
def test_saving_and_loading_gives_the_same_swap(kind: str, tmp_path: Path) -> None:
    featurizer = EVERY[kind](3)
    save_featurizer(featurizer, tmp_path, HEADER)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    loaded, header = load_featurizer(tmp_path, target_fingerprint="a" * 64, instance_fingerprint="b" * 64)
    base, source = normal(5, 4, D), normal(6, 4, D)
    assert header == HEADER
    assert type(loaded) is type(featurizer)
    assert torch.equal(loaded.interchange(base, source), featurizer.interchange(base, source))
    save_featurizer(loaded, tmp_path, header)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "rev"}, "a form among revnet, monotone"),
        ({}, "without 'form'"),
        ({"form": "monotone"}, "without 'knots'"),
    ],
)
def test_a_map_of_another_form_is_refused(settings: dict[str, str], message: str, tmp_path: Path) -> None:
    save_featurizer(REVERSIBLE["revnet"](0), tmp_path, HEADER)
    _edit(tmp_path, settings=settings)
    with pytest.raises(SuiteError, match=message):
        load_featurizer(tmp_path)


def test_a_foreign_model_or_instance_is_refused_unless_asked_for(tmp_path: Path) -> None:
    save_featurizer(EVERY["subspace"](0), tmp_path, HEADER)
    with pytest.raises(SuiteError, match=r"another target model.*--allow-foreign"):
        load_featurizer(tmp_path, target_fingerprint="c" * 64)
    with pytest.raises(SuiteError, match="another instance"):
        load_featurizer(tmp_path, instance_fingerprint="c" * 64)
    load_featurizer(tmp_path, target_fingerprint="c" * 64, allow_foreign=True)


def _edit(folder: Path, **changes: object) -> None:
    path = folder / "featurizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGE: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: (f / "featurizer.json").unlink(), "nothing there"),
    (
        lambda f: (f / "featurizer.safetensors").unlink(),
        r"a file at .*featurizer\.safetensors; got nothing there",
    ),
    (lambda f: (f / "featurizer.safetensors").write_bytes(b"PK\x03\x04 a zip"), "complete safetensors"),
    (
        lambda f: (f / "featurizer.safetensors").write_bytes(
            (f / "featurizer.safetensors").read_bytes()[:-9]
        ),
        "complete safetensors",
    ),
    (lambda f: (f / "featurizer.json").write_text("{"), "JSON in"),
    (lambda f: (f / "featurizer.json").write_text("[]"), "a featurizer's header"),
    (lambda f: (f / "featurizer.json").write_text('{"method": "das"}'), "without attribute"),
    (lambda f: _edit(f, schema_version=99), "schema version 1"),
    (lambda f: _edit(f, kind="rotation"), "a known kind"),
    (lambda f: _edit(f, kind="masked_basis"), "masked_basis without 'weights'"),
    (lambda f: _edit(f, size=3), "of size 4"),
    (lambda f: _edit(f, seed="five"), "a whole number as 'seed'"),
    (lambda f: _edit(f, site="here"), "of the form"),
    (lambda f: _edit(f, tensors={}), "other tensors"),
    (lambda f: _edit(f, tensors_sha256="0" * 64), "hash"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_damaged_and_foreign_files_are_refused(
    damage: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    save_featurizer(EVERY["subspace"](0), tmp_path, HEADER)
    damage(tmp_path)
    with pytest.raises(SuiteError, match=message):
        load_featurizer(tmp_path)


def test_tensors_that_are_one_and_the_same_are_saved_each(tmp_path: Path) -> None:
    bias = normal(7, D)
    shared = Dictionary(
        encoder=normal(8, D, 3),
        encoder_bias=torch.zeros(3),
        decoder=normal(9, 3, D),
        decoder_bias=bias,
        centre=bias,
        mask=torch.ones(3),
        activation=Activation(),
    )
    assert shared.centre is shared.decoder_bias
    save_featurizer(shared, tmp_path / "f", HEADER)
    loaded, _ = load_featurizer(tmp_path / "f")
    base, source = normal(5, 4, D), normal(6, 4, D)
    assert torch.equal(loaded.interchange(base, source), shared.interchange(base, source))


def test_numbers_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    broken = dictionary(0, half(M), Activation("relu"))
    broken.decoder[0, 0] = torch.inf
    with pytest.raises(SuiteError, match="finite numbers in 'decoder'"):
        save_featurizer(broken, tmp_path, HEADER)
    assert not any(tmp_path.iterdir())


def test_the_header_says_what_the_file_holds(tmp_path: Path) -> None:
    save_featurizer(EVERY["subspace"](0), tmp_path, replace(HEADER, site=Site(1, position="prompt_last")))
    written = json.loads((tmp_path / "featurizer.json").read_text())
    assert written["site"] == "block_output.1@prompt_last"
    assert (written["kind"], written["size"], written["width"]) == ("subspace", K, D)
    assert written["tensors"] == {"basis": {"shape": [D, K], "dtype": "float32"}}


@pytest.mark.parametrize("kind", EVERY)
def test_a_notebook_shows_what_a_featurizer_is(kind: str) -> None:
    featurizer = EVERY[kind](0)
    shown = featurizer._repr_html_()
    assert f"<caption>{featurizer.kind}</caption>" in shown
    assert f"<td>{featurizer.size}</td>" in shown
    assert f"<td>{featurizer.width}</td>" in shown


def test_a_notebook_shows_every_field_of_a_header() -> None:
    shown = HEADER._repr_html_()
    for field in fields(HEADER):
        assert f'<th scope="row">{field.name}</th><td>{getattr(HEADER, field.name)}</td>' in shown
