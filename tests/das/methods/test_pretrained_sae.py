"""Pretrained autoencoders in sae-lens's form: what they compute, where they fit, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from das.featurizers.dictionary import Dictionary
from das.methods.dictionaries._lens_config import site_of_hook
from das.methods.dictionaries._pretrained_sae import dictionary_of, latents_of_pretrained, load_pretrained
from das.models.base import TargetModel
from das.sites import Site
from ravel.common.errors import SuiteError

WIDTH, LATENTS = 6, 10
SITE = Site(layer=3)
HAS_SAE_LENS = importlib.util.find_spec("sae_lens") is not None


def _target(
    *, name: str = "gpt2", family: str = "gpt2", width: int = WIDTH, norm: nn.Module | None = None
) -> TargetModel:
    """What is asked of a target where no block has to run; its norms are by root mean square unless given."""
    return SimpleNamespace(  # type: ignore[return-value]
        name=name,
        family=SimpleNamespace(name=family),
        width=lambda site: width,
        model=nn.Sequential(norm or nn.RMSNorm(width)),
    )


def _config(**changes: Any) -> dict[str, Any]:
    metadata = {"model_name": "gpt2-small", "hook_name": "blocks.3.hook_resid_post"}
    metadata |= changes.pop("metadata", {})
    config = {"architecture": "standard", "d_in": WIDTH, "d_sae": LATENTS, "metadata": metadata}
    return config | {"dtype": "float32", "device": "cpu", "normalize_activations": "none"} | changes


def _tensors(seed: int = 0) -> dict[str, Tensor]:
    stream = torch.Generator().manual_seed(seed)
    shapes = {"W_enc": (WIDTH, LATENTS), "b_enc": (LATENTS,), "W_dec": (LATENTS, WIDTH), "b_dec": (WIDTH,)}
    found = {name: torch.randn(*shape, generator=stream) for name, shape in shapes.items()}
    return found | {"threshold": torch.randn(LATENTS, generator=stream)}


def _vectors(n: int = 40) -> Tensor:
    return torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(9))


def _written(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config))
    (folder / "sae_weights.safetensors").write_bytes(save(tensors))
    return folder


def _made(config: dict[str, Any], tensors: dict[str, Tensor] | None = None, **where: Any) -> Dictionary:
    place: dict[str, Any] = {"site": SITE, "target": _target(), "origin": "here"} | where
    return dictionary_of(config, _tensors() if tensors is None else tensors, **place).dictionary


# --- what it computes


@pytest.mark.parametrize("with_centre", [True, False])
def test_a_standard_autoencoder_by_formula(with_centre: bool) -> None:
    w, x = _tensors(), _vectors()
    found = _made(_config(apply_b_dec_to_input=with_centre))
    features = ((x - w["b_dec"] * with_centre) @ w["W_enc"] + w["b_enc"]).relu()
    torch.testing.assert_close(found.encode(x), features)
    torch.testing.assert_close(found.decode(features), features @ w["W_dec"] + w["b_dec"])
    assert (found.size, found.n_features, found.keeps_error) == (0, LATENTS, True)


def test_jump_relu_goes_through_a_relu_below_negative_thresholds() -> None:
    w, x = _tensors(), _vectors()
    assert bool((w["threshold"] < 0).any())
    before = (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    features = before.relu() * (before > w["threshold"])
    torch.testing.assert_close(_made(_config(architecture="jumprelu")).encode(x), features)


@pytest.mark.parametrize("by_norm", [True, False])
def test_top_k_may_count_in_units_of_the_decoder(by_norm: bool) -> None:
    w, x = _tensors(), _vectors()
    found = _made(_config(architecture="topk", k=3, rescale_acts_by_decoder_norm=by_norm))
    norms = w["W_dec"].norm(dim=1) if by_norm else torch.ones(LATENTS)
    before = ((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]) * norms
    values, places = before.topk(3, dim=1)
    features = torch.zeros_like(before).scatter(1, places, values.relu())
    torch.testing.assert_close(found.encode(x), features)
    torch.testing.assert_close(found.decode(features), (features / norms) @ w["W_dec"] + w["b_dec"])


def test_vectors_without_their_mean_are_put_into_the_encoder() -> None:
    metadata = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}
    x = _vectors() + 5.0
    centred = _made(_config()).encode(x - x.mean(dim=1, keepdim=True))
    torch.testing.assert_close(_made(_config(metadata=metadata)).encode(x), centred, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(_made(_config()).encode(x), centred, atol=1e-2)


def test_configs_before_sae_lens_6_are_read() -> None:
    old = {"d_in": WIDTH, "d_sae": LATENTS, "model_name": "gpt2-small", "activation_fn_str": "topk"}
    old |= {"hook_point": "blocks.3.hook_resid_post", "activation_fn_kwargs": {"k": 4}}
    assert int((_made(old).encode(_vectors()) > 0).sum(dim=1).max()) == 4
    plain = {
        **old,
        "activation_fn_str": "relu",
        "normalize_activations": False,
        "hook_point_head_index": None,
    }
    torch.testing.assert_close(_made(plain).encode(_vectors()), _made(_config()).encode(_vectors()))


# --- where it fits


@pytest.mark.parametrize(
    ("hook", "place"),
    [
        ("blocks.7.hook_resid_post", ("block_output", 7)),
        ("blocks.7.hook_resid_pre", ("block_output", 6)),
        ("blocks.0.hook_resid_pre", None),
        ("blocks.2.hook_attn_out", ("attention_output", 2)),
        ("blocks.2.hook_mlp_out", ("mlp_output", 2)),
        ("blocks.2.attn.hook_z", None),
        ("model.layers.11", ("block_output", 11)),
        ("transformer.h.4", ("block_output", 4)),
        ("model.layers.11.mlp", None),
        ("", None),
    ],
)
def test_hooks_and_the_streams_they_are(hook: str, place: tuple[str, int] | None) -> None:
    assert site_of_hook(hook) == place


@pytest.mark.parametrize(
    ("config", "where", "message"),
    [
        (_config(), {"target": _target(width=8)}, "width 8, that of gpt2 at .*; got width 6 in here"),
        (
            _config(),
            {"site": Site(layer=2)},
            r"block_output\.2 .*hook_resid_post', which is block_output\.3",
        ),
        (_config(), {"site": Site(layer=3, stream="mlp_output")}, r"autoencoder of mlp_output\.3"),
        (
            _config(metadata={"hook_name": "blocks.3.attn.hook_z"}, reshape_activations="hook_z"),
            {},
            "one of the hook 'blocks.3.attn.hook_z'",
        ),
        (_config(metadata={"hook_head_index": 2}), {}, "got one of the hook"),
        (_config(metadata={"hook_name": None}), {}, "got one of the hook ''"),
        (_config(), {"target": _target(name="EleutherAI/pythia-70m")}, "got one of gpt2-small in here"),
        (_config(architecture="gated"), {}, "standard, topk, jumprelu in here; got 'gated'"),
        (_config(architecture="topk"), {}, "a number k of at least 1 .*; got None"),
        (_config(normalize_activations="layer_norm"), {}, "got normalize_activations 'layer_norm'"),
        (_config(normalize_activations=True), {}, "got normalize_activations 'expected_average_only_in'"),
        ({"architecture": "standard"}, {}, "the numbers d_in and d_sae"),
        (_config(d_sae=11), {}, r"W_enc of shape \[6, 11\] in here; got the shape \[6, 10\]"),
    ],
)
def test_what_does_not_fit_is_refused(config: dict[str, Any], where: dict[str, Any], message: str) -> None:
    with pytest.raises(SuiteError, match=message) as caught:
        _made(config, **where)
    assert "\n" not in str(caught.value)


def test_the_same_model_has_several_names() -> None:
    for named, used in [
        ("gpt2-small", "openai-community/gpt2"),
        ("google/gemma-2-2b", "/models/Gemma-2-2b/"),
    ]:
        _made(_config(metadata={"model_name": named}), target=_target(name=used))
    _made(_config(), target=_target(name="/tmp/a-copy"), other_model=True)


@pytest.mark.parametrize("name", ["W_enc", "b_dec", "threshold"])
def test_missing_tensors_are_named(name: str) -> None:
    tensors = _tensors()
    del tensors[name]
    with pytest.raises(SuiteError, match=f"got none named {name}"):
        _made(_config(architecture="jumprelu"), tensors)


def test_scaled_latents_are_refused() -> None:
    _made(_config(), _tensors() | {"scaling_factor": torch.ones(LATENTS)})
    with pytest.raises(SuiteError, match="scaling_factor that is not 1"):
        _made(_config(), _tensors() | {"scaling_factor": torch.full((LATENTS,), 2.0)})


# --- folders and the hub


def test_a_folder_is_read_without_the_package(tmp_path: Path) -> None:
    folder = _written(tmp_path / "one", _config(), _tensors())
    found = load_pretrained(f"lens:{folder}", SITE, _target()).dictionary
    torch.testing.assert_close(found.encode(_vectors()), _made(_config()).encode(_vectors()))
    assert latents_of_pretrained(f"lens:{folder}") == LATENTS
    assert latents_of_pretrained("lens:gemma-scope-2b-pt-res-canonical/layer_13/width_16k/canonical") is None


def test_half_precision_weights_are_widened(tmp_path: Path) -> None:
    halves = {name: tensor.bfloat16() for name, tensor in _tensors().items()}
    folder = _written(tmp_path / "one", _config(dtype="bfloat16"), halves)
    found = load_pretrained(f"lens:{folder}", SITE, _target()).dictionary
    assert torch.equal(found.encoder, halves["W_enc"].float())


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"cfg\.json"):
        load_pretrained(f"lens:{tmp_path}/nowhere", SITE, _target())
    folder = _written(tmp_path / "one", _config(), _tensors())
    (folder / "sae_weights.safetensors").write_bytes(b"\x10")
    with pytest.raises(SuiteError, match="no readable safetensors file"):
        load_pretrained(f"lens:{folder}", SITE, _target())
    (folder / "sae_weights.safetensors").unlink()
    with pytest.raises(SuiteError, match=r"a file at .*sae_weights\.safetensors; got nothing there"):
        load_pretrained(f"lens:{folder}", SITE, _target())
    (folder / "cfg.json").write_text("[]")
    with pytest.raises(SuiteError, match="got a list"):
        load_pretrained(f"lens:{folder}", SITE, _target())


def test_without_the_package_the_hub_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sae_lens", None)
    with pytest.raises(SuiteError, match=r"the package sae-lens.*pip install 'ravel-bench\[sae\]'"):
        load_pretrained("lens:gpt2-small-res-jb/blocks.4.hook_resid_pre", SITE, _target())


def _fake_package(monkeypatch: pytest.MonkeyPatch, load: Any) -> None:
    """The two names that are used of sae-lens, with one known release."""
    directory = SimpleNamespace(get_pretrained_saes_directory=lambda: {"known": None})
    package = SimpleNamespace(SAE=SimpleNamespace(from_pretrained=load))
    monkeypatch.setitem(sys.modules, "sae_lens", package)
    monkeypatch.setitem(sys.modules, "sae_lens.loading", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "sae_lens.loading.pretrained_saes_directory", directory)


@pytest.mark.parametrize(
    ("setting", "release", "sae_id"),
    [
        ("lens:known/layer_1/width_16k", "known", "layer_1/width_16k"),
        ("lens:someone/repo/a", "someone/repo", "a"),
    ],
)
def test_releases_and_repositories_are_told_apart(
    setting: str, release: str, sae_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def load(release: str, sae_id: str, device: str) -> Any:
        asked.append((release, sae_id))
        return SimpleNamespace(cfg=SimpleNamespace(to_dict=_config), state_dict=_tensors)

    _fake_package(monkeypatch, load)
    found = load_pretrained(setting, SITE, _target()).dictionary
    assert asked == [(release, sae_id)]
    torch.testing.assert_close(found.encode(_vectors()), _made(_config()).encode(_vectors()))


def test_what_the_hub_does_not_have_is_one_paragraph(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(release: str, sae_id: str, device: str) -> Any:
        raise ValueError(f"ID {sae_id} not found\nin release {release}.")

    _fake_package(monkeypatch, load)
    with pytest.raises(SuiteError, match="got ValueError: ID x not found in release known") as caught:
        load_pretrained("lens:known/x", SITE, _target())
    assert "\n" not in str(caught.value)
    with pytest.raises(SuiteError, match="neither a folder nor a release"):
        load_pretrained("lens:unknown", SITE, _target())


# --- against the package itself


@pytest.mark.skipif(not HAS_SAE_LENS, reason="sae-lens is not installed (pip install 'ravel-bench[sae]')")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("standard", {}),
        ("standard", {"apply_b_dec_to_input": False}),
        ("jumprelu", {}),
        ("topk", {"k": 3}),
        ("topk", {"k": 3, "rescale_acts_by_decoder_norm": True}),
    ],
)
def test_encoding_and_decoding_are_the_package_s(
    architecture: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    from sae_lens import SAE

    config = _config(architecture=architecture, **settings)
    config["metadata"]["sae_lens_version"] = "6.54.12"
    theirs = SAE.from_dict(config)
    weights = _tensors()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.copy_(weights[name])
    # Written by the package, read by both.
    theirs.save_model(tmp_path)
    again = SAE.load_from_disk(tmp_path)
    ours = load_pretrained(f"lens:{tmp_path}", SITE, _target()).dictionary
    with torch.no_grad():
        features = again.encode(_vectors())
        decoded = again.decode(features)
        features = features.to_dense() if features.is_sparse else features
    assert bool((features > 0).any())
    torch.testing.assert_close(ours.encode(_vectors()), features, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.decode(features), decoded, atol=1e-5, rtol=1e-5)
