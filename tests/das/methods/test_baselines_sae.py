"""Dictionaries trained here: activations by hand, training, revival, and the methods that choose latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from keeping_workspace import KeepingWorkspace
from planted_world import SITE, PlantedWorld
from safetensors.torch import load, save
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from das.featurizers.dictionary import Activation, Dictionary
from das.methods.bounds.sae_reconstruction import SaeReconstruction
from das.methods.common.base import Method, NotApplicableError, Problem
from das.methods.common.labelled import LabelledVectors
from das.methods.dictionaries import _autoencoder as autoencoder
from das.methods.dictionaries._autoencoder import (
    AutoencoderConfig,
    dictionary_metrics,
    train_dictionary,
)
from das.methods.dictionaries.mdbm_sae import MdbmSae
from das.methods.dictionaries.sae import Sae, SaeConfig, latents_by_l1
from das.methods.dictionaries.sae_attribution import SaeAttribution
from das.training.workspace import SilentWorkspace
from ravel.common.errors import SuiteError
from ravel.instance import Instance

ARCHITECTURES = ("relu", "top_k", "jump_relu")
QUICK: dict[str, Any] = {"steps": 250, "expansion": 2, "k": 3}


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _mean_best_cosine(truth: Tensor, found: Tensor) -> float:
    """Return the mean over rows of `truth` [m, d_model] of the highest cosine with a row of `found` [n,
    d_model] (mean max cosine similarity, Sharkey et al. 2022)."""
    unit_truth = nn.functional.normalize(truth.double(), dim=1)
    unit_found = nn.functional.normalize(found.double(), dim=1)
    return float((unit_truth @ unit_found.T).amax(dim=1).mean())


def _small(
    activation: Activation, *, keeps_error: bool = True, mask: tuple[float, ...] = (1, 0, 0)
) -> Dictionary:
    """Two coordinates, three latents: x, y and x + y, before biases."""
    return Dictionary(
        encoder=torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]),
        encoder_bias=torch.tensor([0.0, 0.5, -1.0]),
        decoder=torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]),
        decoder_bias=torch.tensor([1.0, 1.0]),
        centre=torch.tensor([1.0, 1.0]),
        mask=torch.tensor(mask),
        activation=activation,
        keeps_error=keeps_error,
    )


def _sparse_world(n: int = 3000, *, width: int = 16, atoms: int = 24, seed: int = 5) -> tuple[Tensor, Tensor]:
    """Vectors that are sums of about two of `atoms` directions with positive weights, and the directions."""
    stream = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(atoms, width, generator=stream), dim=1)
    on = torch.rand(n, atoms, generator=stream) < 2 / atoms
    codes = on * (0.5 + torch.rand(n, atoms, generator=stream))
    return codes @ directions + 0.3, directions


# --- encoding and decoding by hand


@pytest.mark.parametrize(
    ("activation", "features"),
    [
        # (x, y) = (2, 0.25) less the centre is (1, -0.75): before the activation 1, -0.25 and -0.75.
        (Activation("relu"), [1.0, 0.0, 0.0]),
        (Activation("top_k", k=1), [1.0, 0.0, 0.0]),
        (Activation("jump_relu", threshold=torch.tensor([1.5, 0.1, 0.1])), [0.0, 0.0, 0.0]),
    ],
)
def test_features_by_hand(activation: Activation, features: list[float]) -> None:
    found = _small(activation).encode(torch.tensor([2.0, 0.25]))
    assert found.tolist() == features


def test_top_k_keeps_the_largest_by_hand() -> None:
    # (3, 2) less the centre is (2, 1): 2, 1.5 and 2 before; of the two largest both are the 2s.
    dictionary = _small(Activation("top_k", k=2))
    features = dictionary.encode(torch.tensor([3.0, 2.0]))
    assert features.tolist() == [2.0, 0.0, 2.0]
    # 2 (1, 0) + 2 (1, 1) + (1, 1).
    assert dictionary.decode(features).tolist() == [5.0, 3.0]


def test_an_interchange_by_hand() -> None:
    base, source = torch.tensor([2.0, 1.0]), torch.tensor([4.0, 1.0])
    # Latent 0 is 1 in the base and 3 in the source; its decoder row is (1, 0).
    assert _small(Activation("relu")).interchange(base, source).tolist() == [4.0, 1.0]
    # Reconstructed: base features (1, .5, 0), the first becomes 3: 3 (1, 0) + .5 (0, 2) + (1, 1).
    lossy = _small(Activation("relu"), keeps_error=False)
    assert lossy.interchange(base, source).tolist() == [4.0, 2.0]


# --- choosing from a dictionary


def test_gradients_pass_through_a_new_mask() -> None:
    mask = torch.tensor([0.5, 0.5, 0.5], requires_grad=True)
    made = _small(Activation("relu")).with_mask(mask)
    made.interchange(torch.tensor([2.0, 1.0]), torch.tensor([4.0, 1.0])).sum().backward()
    assert mask.grad is not None
    # Latent 0 rises by 2 and writes (1, 0); latent 2 rises from 0 to 2 and writes (1, 1); latent 1 stays.
    assert mask.grad.tolist() == [2.0, 0.0, 4.0]


@pytest.mark.parametrize("architecture", ["relu", "jump_relu"])
def test_a_pruned_dictionary_swaps_as_the_whole_one(architecture: str) -> None:
    vectors, _ = _sparse_world(400)
    trained = train_dictionary(vectors, AutoencoderConfig(architecture=architecture, **QUICK), 0)
    mask = torch.zeros(trained.n_features)
    mask[[3, 7, 20]] = torch.tensor([1.0, 0.4, 1.0])
    whole = trained.with_mask(mask)
    pruned = whole.pruned()
    assert (pruned.n_features, pruned.size) == (3, 2)
    base, source = vectors[:50], vectors[50:100]
    expected = whole.interchange(base, source)
    assert float((expected - base).abs().max()) > 0.1
    torch.testing.assert_close(pruned.interchange(base, source), expected, atol=1e-5, rtol=1e-5)


def test_where_all_latents_count_none_is_pruned() -> None:
    competing = _small(Activation("top_k", k=1))
    lossy = _small(Activation("relu"), keeps_error=False)
    assert competing.pruned() is competing
    assert lossy.pruned() is lossy


def test_pruning_may_leave_nothing() -> None:
    empty = _small(Activation("relu"), mask=(0, 0, 0)).pruned()
    base, source = _normal(2, 5, 2)
    assert empty.size == 0
    assert torch.equal(empty.interchange(base, source), base)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_with_the_error_kept_a_vector_swapped_with_itself_stays(architecture: str) -> None:
    vectors, _ = _sparse_world(300)
    trained = train_dictionary(vectors, AutoencoderConfig(architecture=architecture, **QUICK), 0)
    everything = torch.ones(trained.n_features)
    assert torch.equal(trained.with_mask(everything).interchange(vectors, vectors), vectors)
    lossy = trained.with_mask(torch.zeros(trained.n_features), keeps_error=False)
    reconstructed = lossy.interchange(vectors, vectors.flip(0))
    assert torch.equal(reconstructed, trained.decode(trained.encode(vectors)))
    assert not torch.equal(reconstructed, vectors)


# --- metrics


def test_metrics_by_hand() -> None:
    vectors = torch.tensor([[2.0, 1.0], [0.0, 0.0]])
    # Features (1, .5, 0) and (0, 0, 0), reconstructed as (2, 2) and (1, 1). Squared errors 1 + 2 = 3; around
    # the mean (1, .5) the squares sum to 2 (1 + .25) = 2.5.
    found = dictionary_metrics(_small(Activation("relu")), vectors)
    assert found.explained_variance == pytest.approx(1 - 3 / 2.5)
    assert found.l0 == 1.0
    assert found.dead == pytest.approx(1 / 3)
    assert set(found.row("train")) == {"explained_variance_train", "l0_train", "dead_train"}


# --- training


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_explains_more_than_its_start(architecture: str) -> None:
    vectors, _ = _sparse_world()

    def explained(steps: int) -> float:
        config = AutoencoderConfig(architecture=architecture, steps=steps, k=3, revivals=0)
        return dictionary_metrics(train_dictionary(vectors, config, 0), vectors).explained_variance

    assert explained(300) > max(explained(1) + 0.2, 0.7)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_dictionary_of_a_sparse_world_is_found(architecture: str) -> None:
    vectors, directions = _sparse_world()
    config = AutoencoderConfig(
        architecture=architecture,
        expansion=2,
        k=3,
        l1_penalty=0.2,
        l0_penalty=0.05,
        steps=1500,
        learning_rate=1e-2,
    )
    found = train_dictionary(vectors, config, 0)
    untrained = train_dictionary(vectors, config.model_copy(update={"steps": 1}), 0)
    assert _mean_best_cosine(directions, found.decoder) > 0.9
    assert _mean_best_cosine(directions, untrained.decoder) < 0.75


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_have_norm_one_and_constraints_hold(architecture: str) -> None:
    vectors, _ = _sparse_world(500)
    found = train_dictionary(vectors, AutoencoderConfig(architecture=architecture, **QUICK), 0)
    torch.testing.assert_close(found.decoder.norm(dim=1), torch.ones(found.n_features))
    features = found.encode(vectors)
    assert bool((features >= 0).all())
    if architecture == "top_k":
        assert int((features > 0).sum(dim=1).max()) == 3
    if architecture == "jump_relu":
        assert found.threshold is not None
        assert float(found.threshold.min()) > 0
        assert float(found.threshold.std()) > 0


@pytest.mark.parametrize(
    ("architecture", "setting", "weak", "strong"),
    [("relu", "l1_penalty", 0.01, 0.3), ("jump_relu", "l0_penalty", 0.0005, 0.05), ("top_k", "k", 6, 2)],
)
def test_the_penalty_makes_features_fewer(
    architecture: str, setting: str, weak: float, strong: float
) -> None:
    vectors, _ = _sparse_world(1000)

    def l0(value: float) -> float:
        config = AutoencoderConfig(
            **{"architecture": architecture, "steps": 250, "expansion": 2, setting: value}
        )
        return dictionary_metrics(train_dictionary(vectors, config, 0), vectors).l0

    assert l0(strong) < 0.7 * l0(weak)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_dead_latents_come_back(architecture: str) -> None:
    vectors, _ = _sparse_world(1000)
    config = AutoencoderConfig(architecture=architecture, steps=200, revivals=3, k=3)

    def fire_in_the_end(revivals: int) -> int:
        training = autoencoder._Training(
            autoencoder._Normalised(vectors, vectors.mean(dim=0), 1.0),
            config.model_copy(update={"revivals": revivals}),
            0,
        )
        with torch.no_grad():
            training.encoder_bias[:10] = -100.0
        for step in range(config.steps):
            training.step(step)
        features = training.finished(torch.zeros(16), 1.0).encode(vectors - vectors.mean(dim=0))
        return int((features[:, :10] > 0).any(dim=0).sum())

    assert fire_in_the_end(0) == 0
    assert fire_in_the_end(3) >= 9


def test_the_rectangle_s_gradients_by_hand() -> None:
    # Width 0.4: 1.1 and 0.9 lie within 0.2 of the threshold 1, and 2 does not.
    before = torch.tensor([[1.1], [0.9], [2.0]], requires_grad=True)
    threshold = torch.tensor([1.0], requires_grad=True)
    features, fires = autoencoder._Rectangle.apply(before, threshold, 0.4)
    assert features.detach()[:, 0].tolist() == pytest.approx([1.1, 0.0, 2.0])
    assert fires[:, 0].tolist() == [1.0, 0.0, 1.0]
    (features.sum() + 3 * fires.sum()).backward()
    assert before.grad is not None
    assert threshold.grad is not None
    assert before.grad[:, 0].tolist() == [1.0, 0.0, 1.0]
    # Two of them, each -(1 * 1 + 3) / 0.4.
    assert threshold.grad.tolist() == pytest.approx([-20.0])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_settings_carry_over_from_scale_to_scale(architecture: str) -> None:
    vectors, _ = _sparse_world(500)
    config = AutoencoderConfig(architecture=architecture, **QUICK)
    small, large = (train_dictionary(scale * vectors, config, 0) for scale in (1.0, 64.0))
    torch.testing.assert_close(large.decoder, small.decoder, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(large.encode(64 * vectors), 64 * small.encode(vectors), atol=0.2, rtol=1e-2)


def test_equal_seeds_give_equal_bytes() -> None:
    vectors, _ = _sparse_world(500)
    config = AutoencoderConfig(**QUICK)
    first = save(dict(train_dictionary(vectors, config, 3).state_dict()))
    torch.manual_seed(99)
    assert save(dict(train_dictionary(vectors, config, 3).state_dict())) == first
    assert save(dict(train_dictionary(vectors, config, 4).state_dict())) != first


def test_fewer_vectors_than_a_batch_will_do() -> None:
    found = train_dictionary(_sparse_world(20)[0], AutoencoderConfig(**QUICK), 0)
    assert bool(found.decoder.isfinite().all())


def test_equal_vectors_are_refused() -> None:
    with pytest.raises(SuiteError, match="vectors that differ, to train an autoencoder on; got 7 equal ones"):
        train_dictionary(torch.ones(7, 4), AutoencoderConfig(), 0)


def test_a_config_survives_yaml() -> None:
    config = SaeConfig(
        autoencoder=AutoencoderConfig(architecture="relu", pretrained="lens:a/b"), keeps_error=False
    )
    assert SaeConfig.from_yaml(config.to_yaml()) == config
    with pytest.raises(SuiteError, match=r"autoencoder\.pretrained"):
        SaeConfig.from_mapping({"autoencoder": {"pretrained": "somewhere"}}, origin="here")


# --- latents by the L1 classifier


def test_the_classifier_ranks_what_tells_classes_apart_first() -> None:
    stream = np.random.default_rng(0)
    labels = stream.integers(3, size=600)
    features = stream.random((600, 12))
    features[:, 4] = labels == 0
    features[:, 9] = labels == 1
    features[:, 2] = 0.0
    data = LabelledVectors(torch.zeros(600, 1), labels, ("a", "b", "c"), ("e",) * 600)
    order = latents_by_l1(csr_matrix(features), data, SaeConfig(), 0).tolist()
    assert set(order[:2]) == {4, 9}
    assert 2 not in order
    assert len(set(order)) == len(order)


# --- the methods


@pytest.fixture(scope="module")
def world() -> PlantedWorld:
    return PlantedWorld(0)


@pytest.fixture(scope="module")
def instance(world: PlantedWorld) -> Instance:
    return world.instance(n_held_out=200).without_test()


def _method(kind: type[Method], **settings: Any) -> Method:
    return kind(kind.config_class.from_mapping(settings, origin="the test"))


def test_methods_attributes_and_sizes_share_one_dictionary(world: PlantedWorld, instance: Instance) -> None:
    workspace = KeepingWorkspace()
    settings = {"autoencoder": QUICK}
    for kind in (Sae, SaeAttribution):
        for attribute in ("A", "B"):
            for size in (2, 5):
                found = _method(kind, **settings).fit(
                    Problem(instance, attribute, SITE, size, 0), world, workspace
                )
                assert found.size <= size
    _method(SaeReconstruction, **settings).fit(Problem(instance, "A", SITE, 1, 0), world, workspace)
    kinds = sorted(key.rsplit("-", 1)[0] for key in workspace.kept)
    assert kinds == ["dictionary"] + 2 * ["sae-attribution"] + 2 * ["sae-latents"]
    logged = {name for row in workspace.rows if row["phase"] == "dictionary" for name in row}
    assert {"explained_variance_train", "explained_variance_held_out", "l0_train", "dead_held_out"} <= logged


def test_larger_sizes_contain_smaller_ones(world: PlantedWorld, instance: Instance) -> None:
    workspace = KeepingWorkspace()
    found = [
        _method(kind, autoencoder=QUICK).fit(Problem(instance, "A", SITE, size, 0), world, workspace).mask()
        > 0
        for kind in (Sae, SaeAttribution)
        for size in (3, 6)
    ]
    for small, large in (found[:2], found[2:]):
        assert (int(small.sum()), int(large.sum())) == (3, 6)
        assert bool(large[small].all())


@pytest.mark.parametrize("kind", [Sae, SaeAttribution, MdbmSae])
def test_the_largest_size_is_the_number_of_latents(kind: type[Method]) -> None:
    assert _method(kind).largest_size(16) == 64
    assert _method(kind, autoencoder={"expansion": 8}).largest_size(16) == 128


@pytest.mark.parametrize("kind", [Sae, SaeAttribution])
@pytest.mark.parametrize("size", [0, 33])
def test_a_size_beyond_the_latents_is_refused(
    kind: type[Method], size: int, world: PlantedWorld, instance: Instance
) -> None:
    problem = Problem(instance, "A", SITE, size, 0)
    with pytest.raises(SuiteError, match=f"a size from 1 to 32, the number of latents .*; got {size}"):
        _method(kind, autoencoder={**QUICK, "steps": 1}).fit(problem, world, SilentWorkspace())


# --- a dictionary that is right by construction: is the choice right?


@pytest.fixture(scope="module")
def axes(world: PlantedWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sae-lens folder whose 32 latents are the two halves of each planted coordinate; A's are 0, 1, 16,
    17."""
    folder: Path = tmp_path_factory.mktemp("axes")
    both = torch.cat([world.directions, -world.directions], dim=1)
    tensors = {
        "W_enc": both,
        "b_enc": torch.zeros(32),
        "W_dec": both.T.contiguous(),
        "b_dec": torch.zeros(16),
    }
    (folder / "sae_weights.safetensors").write_bytes(save(tensors))
    (folder / "cfg.json").write_text(
        '{"architecture": "standard", "d_in": 16, "d_sae": 32, "metadata": {"hook_name": '
        '"blocks.0.hook_resid_post", "model_name": "planted"}}'
    )
    return folder


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Sae, {}),
        (SaeAttribution, {}),
        (SaeAttribution, {"gradient": "integrated", "steps": 4}),
        (Sae, {"keeps_error": False}),
        (SaeAttribution, {"keeps_error": False}),
        (MdbmSae, {"epochs": 6, "batch_size": 128, "cause_weight": 1, "isolate_weight": 1}),
    ],
)
def test_of_a_right_dictionary_the_right_latents_are_chosen(
    kind: type[Method], settings: dict[str, Any], axes: Path, world: PlantedWorld, instance: Instance
) -> None:
    workspace = KeepingWorkspace()
    method = _method(kind, autoencoder={"pretrained": f"lens:{axes}"}, **settings)
    found = method.fit(Problem(instance, "A", SITE, 4, 0), world, workspace)
    (row,) = [row for row in workspace.rows if row["phase"] == "latents"]
    assert sorted(map(int, str(row["chosen"]).split())) == [0, 1, 16, 17]
    assert found.keeps_error == settings.get("keeps_error", True)
    assert min(world.scores(found)) >= 0.97
    assert method.largest_size(16) == 32


def _turned(axes: Path, folder: Path) -> Path:
    """The same files with an encoder that has nothing to do with the decoder."""
    tensors = load((axes / "sae_weights.safetensors").read_bytes())
    stream = torch.Generator().manual_seed(3)
    folder.mkdir()
    (folder / "cfg.json").write_bytes((axes / "cfg.json").read_bytes())
    tensors["W_enc"] = torch.randn(16, 32, generator=stream)
    (folder / "sae_weights.safetensors").write_bytes(save(tensors))
    return folder


@pytest.mark.parametrize("kind", [Sae, SaeAttribution, SaeReconstruction, MdbmSae])
def test_a_dictionary_of_other_vectors_is_refused(
    kind: type[Method], axes: Path, world: PlantedWorld, instance: Instance, tmp_path: Path
) -> None:
    method = _method(kind, autoencoder={"pretrained": f"lens:{_turned(axes, tmp_path / 'turned')}"})
    with pytest.raises(NotApplicableError, match=r"at least 0\.3\); got explained variance -\d+\.\d+, L0"):
        method.fit(Problem(instance, "A", SITE, 4, 0), world, SilentWorkspace())


def test_one_that_is_taken_all_the_same_says_so(
    axes: Path, world: PlantedWorld, instance: Instance, tmp_path: Path
) -> None:
    settings = {"pretrained": f"lens:{_turned(axes, tmp_path / 'turned')}", "accept_unfit": True}
    workspace = KeepingWorkspace()
    with pytest.warns(UserWarning, match="taken although it does not hold here: explained variance"):
        _method(Sae, autoencoder=settings).fit(Problem(instance, "A", SITE, 4, 0), world, workspace)
    notes = [str(row["note"]) for row in workspace.rows if row["phase"] == "note"]
    assert len(notes) == 2
    assert notes[0].startswith("On this model's own training vectors: explained variance -")


def test_what_a_trained_dictionary_brings(world: PlantedWorld, instance: Instance) -> None:
    """Attribution's latents disturb less than the classifier's, and both bring more than chance, a quarter;
    the reconstruction alone brings nothing and leaves most."""
    workspace = KeepingWorkspace()
    settings = {"autoencoder": {"k": 4, "steps": 800}}

    def scores(kind: type[Method]) -> tuple[float, float]:
        found = _method(kind, **settings).fit(Problem(instance, "A", SITE, 16, 0), world, workspace)
        return world.scores(found)

    by_classifier, by_attribution, nothing = scores(Sae), scores(SaeAttribution), scores(SaeReconstruction)
    assert by_classifier[0] > 0.7
    assert by_attribution[0] > 0.6
    assert by_attribution[1] > by_classifier[1]
    assert nothing[0] == pytest.approx(0.25, abs=0.05)
    assert nothing[1] > 0.85


def test_a_reconstruction_is_the_same_whatever_the_source(world: PlantedWorld, instance: Instance) -> None:
    found = _method(SaeReconstruction, autoencoder=QUICK).fit(
        Problem(instance, "A", SITE, 1, 0), world, SilentWorkspace()
    )
    base, one, other = _normal(3, 9, 16)
    assert torch.equal(found.interchange(base, one), found.interchange(base, other))
    assert torch.equal(found.interchange(base, one), found.decode(found.encode(base)))
