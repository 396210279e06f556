"""One battery over every registered method: laws of its result, determinism, the way to disk and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from planted_world import SITE, WIDTH, PlantedWorld
from safetensors.torch import save
from token_world import token_instance
from torch import Tensor

from das.engine import make_engine
from das.engine.base.labels import forced_labels
from das.engine.base.protocol import ForcedPair
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.featurizers.reversible import ReversibleMap
from das.featurizers.storage import FeaturizerHeader, load_featurizer, save_featurizer
from das.featurizers.subspace import Subspace
from das.methods.common.base import Method, Problem
from das.methods.common.tasks import CausePairsConfig, MixedPairsConfig
from das.methods.registry import METHODS
from das.methods.trained.das import Das
from das.methods.trained.mdas import Mdas
from das.models import FAMILIES
from das.models.miniature import miniature
from das.sites import Site
from das.training.objective import LossWeights, TrainingPair, pooled_loss
from das.training.workspace import SilentWorkspace
from ravel.instance import Instance
from ravel.terms.schema import Prompt

SIZE = 5
SWAPPED = [method for method in METHODS if method.finds == "featurizer"]
"""Methods whose results can be swapped; those that find detectors are held in `tests/das/methods`."""


@pytest.fixture(scope="module")
def world() -> PlantedWorld:
    return PlantedWorld(3, n_entities=80)


@pytest.fixture(scope="module")
def instance(world: PlantedWorld) -> Instance:
    return world.instance(n_pairs=120, n_held_out=40).without_test()


@pytest.fixture(scope="module")
def vectors() -> tuple[Tensor, Tensor]:
    base, source = torch.randn(2, 50, WIDTH, generator=torch.Generator().manual_seed(0))
    return base, source


@pytest.fixture(scope="module", params=SWAPPED, ids=lambda method: method.name)
def method(request: pytest.FixtureRequest) -> Method:
    """Every method that finds a featurizer with its default settings."""
    found: type[Method] = request.param
    return found()


@pytest.fixture(scope="module")
def fitted(method: Method, world: PlantedWorld, instance: Instance) -> Featurizer:
    return _fit(method, world, instance)


def _fit(method: Method, world: PlantedWorld, instance: Instance, *, attribute: str = "A") -> Featurizer:
    return method.fit(Problem(instance, attribute, SITE, SIZE, seed=11), world, SilentWorkspace())


def _bytes(featurizer: Featurizer) -> bytes:
    return save(dict(featurizer.state_dict()))


# --- declarations


def test_a_method_declares_itself(method: Method) -> None:
    assert METHODS.get(method.name) is type(method)
    assert method.summary
    assert "\n" not in method.summary
    assert isinstance(method.config, method.config_class)


# --- laws of the result


def test_swapping_a_vector_with_itself_changes_no_bit(
    fitted: Featurizer, vectors: tuple[Tensor, Tensor]
) -> None:
    for vector in vectors:
        # Without its error a dictionary can bring back no more than it reconstructs.
        same = vector if fitted.keeps_error else fitted.decode(fitted.encode(vector))
        assert torch.equal(fitted.interchange(vector, vector), same)


def test_the_result_is_finished(method: Method, fitted: Featurizer) -> None:
    assert fitted.width == WIDTH
    if method.needs_size:
        assert fitted.size <= SIZE
    for value in fitted.state_dict().values():
        assert not value.requires_grad
        assert value.device.type == "cpu"
        assert bool(value.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtype_and_shape_are_the_base_s(
    fitted: Featurizer, vectors: tuple[Tensor, Tensor], dtype: torch.dtype
) -> None:
    base, source = vectors[0].to(dtype), vectors[1]
    swapped = fitted.interchange(base, source)
    assert (swapped.dtype, swapped.device, swapped.shape) == (base.dtype, base.device, base.shape)


def test_linear_results_swap_once_and_leave_the_complement(
    fitted: Featurizer, vectors: tuple[Tensor, Tensor]
) -> None:
    if not isinstance(fitted, Subspace | MaskedBasis):
        pytest.skip("not a linear featurizer")
    base, source = vectors
    once = fitted.interchange(base, source)
    torch.testing.assert_close(fitted.interchange(once, source), once, atol=1e-5, rtol=1e-5)
    mask = fitted.mask()
    moved = fitted.encode(once) - (fitted.encode(base) + mask * (fitted.encode(source) - fitted.encode(base)))
    assert float(moved.abs().max()) < 1e-5
    # The rest: what the base has outside the swapped coordinates is what the result has outside them.
    rest = [x - fitted.decode(mask * fitted.encode(x)) for x in (base, once)]
    torch.testing.assert_close(rest[0], rest[1], atol=1e-5, rtol=1e-5)


def test_an_invertible_map_goes_back_and_swaps_once(
    method: Method, fitted: Featurizer, vectors: tuple[Tensor, Tensor]
) -> None:
    assert isinstance(fitted, ReversibleMap) == method.fits_nonlinear_map
    if not isinstance(fitted, ReversibleMap):
        pytest.skip("a linear featurizer or a dictionary")
    base, source = vectors
    assert max(fitted.inverse_error(vector) for vector in vectors) < 1e-5
    once = fitted.interchange(base, source)
    torch.testing.assert_close(fitted.interchange(once, source), once, atol=2e-5, rtol=1e-5)


def test_swapping_nothing_returns_the_base_and_everything_the_source(
    fitted: Featurizer, vectors: tuple[Tensor, Tensor]
) -> None:
    base, source = vectors
    if not fitted.keeps_error:
        if fitted.size == 0:
            assert torch.equal(fitted.interchange(base, source), fitted.decode(fitted.encode(base)))
    elif fitted.size == 0:
        assert torch.equal(fitted.interchange(base, source), base)
    elif fitted.size == WIDTH and isinstance(fitted, Subspace | MaskedBasis):
        torch.testing.assert_close(fitted.interchange(base, source), source, atol=1e-5, rtol=1e-5)


# --- determinism and storage


def test_equal_problems_give_equal_bytes(
    method: Method, fitted: Featurizer, world: PlantedWorld, instance: Instance
) -> None:
    torch.manual_seed(99)
    assert _bytes(_fit(method, world, instance)) == _bytes(fitted)


def test_the_target_matters_exactly_if_declared(
    method: Method, fitted: Featurizer, world: PlantedWorld, instance: Instance
) -> None:
    other = _fit(method, world, instance, attribute="B")
    assert (_bytes(other) != _bytes(fitted)) == method.needs_attribute


def test_a_saved_result_acts_the_same(
    method: Method, fitted: Featurizer, instance: Instance, vectors: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    header = FeaturizerHeader(
        method=method.name,
        attribute="A",
        entity_type=instance.entity_type,
        site=SITE,
        seed=11,
        model=instance.model_name,
        target_fingerprint=instance.model_fingerprint,
        instance_fingerprint=instance.fingerprint,
    )
    save_featurizer(fitted, tmp_path, header)
    loaded, read = load_featurizer(tmp_path, target_fingerprint=instance.model_fingerprint)
    assert read == header
    assert (loaded.kind, loaded.size, loaded.width) == (fitted.kind, fitted.size, fitted.width)
    assert torch.equal(loaded.interchange(*vectors), fitted.interchange(*vectors))


# --- the joint objective


def test_a_mixed_batch_s_loss_is_the_count_weighted_mean_of_the_two_tasks() -> None:
    # Two cause pairs with cross entropies log 2 and log 4, one isolate pair with log 8; one label token each.
    logits = torch.log(torch.tensor([[[0.5, 0.5, 0.0]], [[0.25, 0.75, 0.0]], [[0.5, 0.375, 0.125]]]))
    labels = [(0,), (0,), (2,)]
    prompt = Prompt("x", "%s", "x", "A", (0, 1))
    pairs = [
        TrainingPair(ForcedPair(prompt, prompt, label), kind, "A")  # type: ignore[arg-type]
        for label, kind in zip(labels, ("cause", "cause", "isolate"), strict=True)
    ]
    cross_entropy = forced_labels(logits, labels).cross_entropy
    bits = (cross_entropy / torch.log(torch.tensor(2.0))).tolist()
    assert bits == pytest.approx([1.0, 2.0, 3.0], abs=1e-6)
    by_counts = pooled_loss(cross_entropy, LossWeights().of(pairs))
    # (2 * 1.5 + 1 * 3) / 3 = 2 bits.
    assert float(by_counts) / 0.693147 == pytest.approx(2.0, abs=1e-5)
    equal = LossWeights.from_shares(cause=1.0, isolate=1.0, n_cause=2, n_isolate=1)
    # (1.5 + 3) / 2 = 2.25 bits.
    assert float(pooled_loss(cross_entropy, equal.of(pairs))) / 0.693147 == pytest.approx(2.25, abs=1e-5)


# --- the same run on both engines


class _Rows(SilentWorkspace):
    """Keeps the training log."""

    folder: Path | None = None

    def __init__(self) -> None:
        self.rows: list[dict[str, float | int | str]] = []

    def log(self, row: dict[str, float | int | str]) -> None:
        self.rows.append(row)

    def progress(self, done: int, total: int) -> None:
        pass


SHORT = {"epochs": 3, "batch_size": 8, "learning_rate": 0.02, "log_every": 1}


@pytest.mark.parametrize(
    "trained", [Das(CausePairsConfig(**SHORT)), Mdas(MixedPairsConfig(**SHORT))], ids=["das", "mdas"]
)
def test_a_whole_run_is_the_same_on_both_engines(trained: Method) -> None:
    target = miniature(FAMILIES.get("qwen2"))
    problem = Problem(token_instance(target.fingerprint), "A", Site(layer=1), 4, seed=0)
    logs, found = [], []
    for name in ("direct", "reference"):
        workspace = _Rows()
        found.append(trained.fit(problem, make_engine(name, target), workspace))
        logs.append(workspace.rows)
    direct, reference = logs
    assert len(direct) == len(reference) > 6
    for ours, theirs in zip(direct, reference, strict=True):
        assert ours["step"] == theirs["step"]
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-3)
    first, last = (row["loss"] for row in (direct[0], direct[-1]))
    assert last < first  # type: ignore[operator]
    assert all(isinstance(featurizer, Subspace) for featurizer in found)
    bases = [featurizer.state_dict()["basis"] for featurizer in found]
    overlap = torch.linalg.svdvals(bases[0].T @ bases[1])
    assert float(overlap.min()) > 0.999
