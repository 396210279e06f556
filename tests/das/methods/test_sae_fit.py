"""Pretrained autoencoders are believed if they hold: explained variance and L0 on the model's own vectors,
vectors without their mean, and hooks by what a block does."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from das.engine import DirectEngine
from das.featurizers.dictionary import Activation, Dictionary
from das.methods.common.base import NotApplicableError
from das.methods.dictionaries._autoencoder import DictionaryMetrics, dictionary_metrics
from das.methods.dictionaries._pretrained_sae import Pretrained, load_pretrained, without_mean
from das.methods.dictionaries._published_saes import Published
from das.methods.dictionaries._sae_fit import check_fit, fault_of_fit, measured
from das.models import FAMILIES
from das.models.base import TargetModel
from das.sites import Site
from ravel.common.errors import SuiteError

SITE = Site(1)
CITIES = ("Rome", "Ulm", "Oslo", "Paris", "Kyiv", "Lima", "Cairo", "Delhi", "Quito", "Hanoi", "Accra", "Bern")
TEMPLATES = ("%s is a city in", "The well known city of %s", "Near %s they speak", "So, %s: it lies in")


@pytest.fixture(scope="module")
def vectors_of(
    target_of: Callable[[str], TargetModel], make_prompt: Callable[..., Any]
) -> Callable[[str, Site], Tensor]:
    """Return a function from a family and a site to its miniature's vectors there, [48, width]."""
    prompts = [make_prompt(template, city) for template in TEMPLATES for city in CITIES]
    return lambda family, site: DirectEngine(target_of(family)).collect(prompts, [site])[site]


def principal(vectors: Tensor, size: int) -> dict[str, Tensor]:
    """An autoencoder that holds: both halves of the first principal components around the mean."""
    mean = vectors.mean(dim=0)
    axes = torch.linalg.svd(vectors - mean, full_matrices=False).Vh[:size]
    both = torch.cat([axes, -axes])
    return {
        "W_enc": both.mT.contiguous(),
        "b_enc": torch.zeros(2 * size),
        "W_dec": both,
        "b_dec": mean,
    }


def written(folder: Path, tensors: dict[str, Tensor], **metadata: Any) -> Path:
    width, latents = tensors["W_enc"].shape
    config = {"architecture": "standard", "d_in": width, "d_sae": latents}
    folder.mkdir(parents=True, exist_ok=True)
    named = {"hook_name": "blocks.1.hook_resid_post", **metadata}
    (folder / "cfg.json").write_text(json.dumps({**config, "metadata": named}))
    (folder / "sae_weights.safetensors").write_bytes(save(tensors))
    return folder


def loaded(folder: Path, target: TargetModel, site: Site = SITE) -> Pretrained:
    return load_pretrained(f"lens:{folder}", site, target, other_model=True)


# --- explained variance and L0


def test_the_figures_by_hand() -> None:
    dictionary = Dictionary(
        encoder=torch.eye(2),
        encoder_bias=torch.zeros(2),
        decoder=torch.eye(2),
        decoder_bias=torch.zeros(2),
        mask=torch.zeros(2),
        activation=Activation("relu"),
    )
    found = dictionary_metrics(dictionary, torch.tensor([[3.0, 0.0], [1.0, 0.0], [2.0, -3.0]]))
    # Mean (2, -1); squares around it 2 + 2 + 4 = 8; only the -3 is lost: 1 - 9 / 8.
    assert found.explained_variance == pytest.approx(1 - 9 / 8)
    assert (found.l0, found.dead) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("explained", "l0", "published", "fault"),
    [
        (0.31, 5.0, None, None),
        (0.29, 5.0, None, "at least 0.3"),
        (float("nan"), 5.0, None, "at least 0.3"),
        (0.9, 0.0, None, "above 0 and below 40"),
        (0.9, 40.0, None, "above 0 and below 40"),
        (0.41, 5.0, Published("r", 0.8, 30.0), None),
        (0.39, 5.0, Published("r", 0.8, 30.0), "at least 0.4, half of the published 0.8"),
        (0.1, 5.0, Published("r", 0.13), None),
        (0.9, 2.9, Published("r", 0.8, 30.0), "within a factor 10 of the published 30"),
        (0.9, 39.0, Published("r", None, 3.0), "within a factor 10 of the published 3"),
    ],
)
def test_the_bounds(explained: float, l0: float, published: Published | None, fault: str | None) -> None:
    found = fault_of_fit(DictionaryMetrics(explained, l0, 0.0), 40, published)
    assert (found is None) if fault is None else (found is not None and fault in found)


def _random(tensors: dict[str, Tensor], other: Tensor) -> dict[str, Tensor]:
    stream = torch.Generator().manual_seed(0)
    return {name: torch.randn(t.shape, generator=stream) for name, t in tensors.items()}


def _other_place(tensors: dict[str, Tensor], other: Tensor) -> dict[str, Tensor]:
    return principal(other, len(tensors["b_enc"]) // 2)


def _norm_factor_left_out(tensors: dict[str, Tensor], other: Tensor) -> dict[str, Tensor]:
    # Trained on vectors of norm sqrt(width), and published without that factor.
    return {**tensors, "W_dec": tensors["W_dec"] * 2.5, "b_dec": tensors["b_dec"] * 2.5}


def _top_k_as_relu(tensors: dict[str, Tensor], other: Tensor) -> dict[str, Tensor]:
    """Latents that only top-k keeps apart: each direction eight times, of which one is to fire."""
    eight = {"W_enc": tensors["W_enc"].repeat(1, 8), "b_enc": tensors["b_enc"].repeat(8)}
    return {**tensors, **eight, "W_dec": tensors["W_dec"].repeat(8, 1)}


@pytest.mark.parametrize("spoil", [_random, _other_place, _norm_factor_left_out, _top_k_as_relu])
def test_one_that_holds_is_taken_and_a_spoilt_one_refused(
    spoil: Callable[..., dict[str, Tensor]],
    target_of: Callable[[str], TargetModel],
    vectors_of: Callable[[str, Site], Tensor],
    tmp_path: Path,
) -> None:
    target, vectors = target_of("llama"), vectors_of("llama", SITE)
    good = principal(vectors, 8)
    held = loaded(written(tmp_path / "good", good), target)
    (said,) = check_fit(held, measured(held, vectors), accept_unfit=False)
    assert said.startswith("On this model's own training vectors: explained variance 0.")
    assert measured(held, vectors).l0 == pytest.approx(8)
    bad = loaded(
        written(tmp_path / "bad", spoil(good, vectors_of("llama", Site(3, "attention_output")))), target
    )
    figures = measured(bad, vectors)
    with pytest.raises(NotApplicableError, match=f"got explained variance {figures.explained_variance:.3f}"):
        check_fit(bad, figures, accept_unfit=False)
    assert "does not hold here" in check_fit(bad, figures, accept_unfit=True)[-1]


def test_figures_of_the_config_count_as_published(
    target_of: Callable[[str], TargetModel], vectors_of: Callable[[str, Site], Tensor], tmp_path: Path
) -> None:
    target, vectors = target_of("llama"), vectors_of("llama", SITE)
    folder = written(tmp_path / "a", principal(vectors, 8), variance_explained=0.9, l0=200)
    found = loaded(folder, target)
    with pytest.raises(NotApplicableError, match="within a factor 10 of the published 200"):
        check_fit(found, measured(found, vectors), accept_unfit=False)
    with pytest.raises(SuiteError, match="numbers where others are"):
        loaded(written(tmp_path / "b", principal(vectors, 8), l0="many"), target)


# --- vectors without their mean


def _table(monkeypatch: pytest.MonkeyPatch, **entries: dict[str, str]) -> None:
    """sae-lens's table with releases of GPT-2; those whose name begins with `centred` say so."""
    made = {
        name: SimpleNamespace(
            release=name,
            model="gpt2-small",
            saes_map=saes,
            expected_var_explained=dict.fromkeys(saes, 1.0),
            expected_l0=dict.fromkeys(saes, 0.0),
            config_overrides={"model_from_pretrained_kwargs": {"center_writing_weights": True}}
            if name.startswith("centred")
            else None,
        )
        for name, saes in entries.items()
    }
    directory = SimpleNamespace(get_pretrained_saes_directory=lambda: made)
    monkeypatch.setitem(sys.modules, "sae_lens", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "sae_lens.loading", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "sae_lens.loading.pretrained_saes_directory", directory)


HOOK = "blocks.2.hook_resid_pre"


@pytest.fixture
def jb(vectors_of: Callable[[str, Site], Tensor], tmp_path: Path) -> Path:
    """A folder as gpt2-small-res-jb is published: without a word on centring, trained on centred vectors."""
    tensors = principal(without_mean(vectors_of("gpt2", SITE)), 8)
    return written(tmp_path / HOOK, tensors, hook_name=HOOK, model_name="gpt2-small")


def test_centred_where_the_table_says_so(
    jb: Path,
    target_of: Callable[[str], TargetModel],
    vectors_of: Callable[[str, Site], Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _table(monkeypatch, centred_jb={HOOK: HOOK}, other={HOOK: "2-res_scl-ajt"})
    found, vectors = loaded(jb, target_of("gpt2")), vectors_of("gpt2", SITE) + 3.0
    assert (found.mean_free, found.unsure_of_mean) == (True, False)
    assert found.published is not None
    assert (found.published.explained_variance, found.published.l0) == (None, None)
    assert found.notes == ("Vectors lose their mean first, as sae-lens's table says of centred_jb.",)
    centred, by_hand = without_mean(vectors), principal(without_mean(vectors_of("gpt2", SITE)), 8)
    features = ((centred - by_hand["b_dec"]) @ by_hand["W_enc"]).relu()
    torch.testing.assert_close(found.dictionary.encode(vectors), features, rtol=1e-4, atol=1e-5)
    assert measured(found, vectors).explained_variance > 0.5


@pytest.mark.parametrize("table", [None, {"centred_a": {HOOK: HOOK}, "b": {HOOK: HOOK}}, {"b": {HOOK: "x"}}])
def test_where_it_can_t_be_known_a_note_says_so(
    table: dict[str, dict[str, str]] | None,
    jb: Path,
    target_of: Callable[[str], TargetModel],
    vectors_of: Callable[[str, Site], Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if table is None:
        monkeypatch.setitem(sys.modules, "sae_lens", None)
        monkeypatch.setitem(sys.modules, "sae_lens.loading.pretrained_saes_directory", None)
    else:
        _table(monkeypatch, **table)
    found, vectors = loaded(jb, target_of("gpt2")), vectors_of("gpt2", SITE)
    assert (found.mean_free, found.unsure_of_mean) == (False, True)
    _, unknown, other = check_fit(found, measured(found, vectors), vectors, accept_unfit=False)
    assert unknown.startswith("UNKNOWN: whether this autoencoder was trained on vectors without their mean")
    better = measured(
        loaded(
            written(
                jb.parent / "said",
                principal(without_mean(vectors), 8),
                hook_name=HOOK,
                model_from_pretrained_kwargs={"center_writing_weights": True},
            ),
            target_of("gpt2"),
        ),
        vectors,
    )
    assert other == f"Without the mean explained variance is {better.explained_variance:.3f}."


@pytest.mark.parametrize(
    ("family", "metadata"), [("gpt2", {"model_from_pretrained_kwargs": {}}), ("llama", {})]
)
def test_no_note_where_it_is_stated_or_makes_no_difference(
    family: str,
    metadata: dict[str, Any],
    target_of: Callable[[str], TargetModel],
    vectors_of: Callable[[str, Site], Tensor],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    _table(monkeypatch)
    tensors = principal(vectors_of(family, SITE), 8)
    found = loaded(written(tmp_path / "one", tensors, **metadata), target_of(family))
    assert (found.mean_free, found.unsure_of_mean, found.notes) == (False, False, ())


# --- hooks by structure


@pytest.mark.parametrize("hook", ["hook_mlp_out", "hook_attn_out"])
@pytest.mark.parametrize("family", FAMILIES.names())
def test_hooks_of_what_is_added_are_taken_where_a_module_s_output_is_added(
    hook: str, family: str, target_of: Callable[[str], TargetModel], tmp_path: Path
) -> None:
    target = target_of(family)
    stream = "mlp_output" if hook == "hook_mlp_out" else "attention_output"
    tensors = principal(torch.randn(64, target.d_model, generator=torch.Generator().manual_seed(1)), 8)
    folder = written(tmp_path / "one", tensors, hook_name=f"blocks.1.{hook}")
    if family in {"gemma2", "gemma3", "granite", "olmo2"}:
        with pytest.raises(
            NotApplicableError, match=f"in {family}: what the module returns, before the norm"
        ):
            loaded(folder, target, Site(1, stream))  # type: ignore[arg-type]
    else:
        assert loaded(folder, target, Site(1, stream)).dictionary.n_features == 16  # type: ignore[arg-type]
