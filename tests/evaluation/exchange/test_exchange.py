"""`ravel export` and `import` on a miniature: what goes out and comes back scores as before."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_world import FAST, SITE, World, fit_args, ravel, score_args
from safetensors.torch import load, save
from torch import Tensor, nn
from typer.testing import Result

from das.featurizers import (
    Activation,
    Dictionary,
    FeaturizerHeader,
    MaskedBasis,
    Subspace,
    load_featurizer,
    retract,
    save_featurizer,
)
from das.methods.dictionaries._pretrained_sae import load_pretrained
from das.sites import Site
from evaluation.config.target import TargetConfig
from evaluation.exchange.importing import NOTE_FILE
from ravel.instance import Instance

WIDTH = 32
_SHIFT = 10.0
"""More than any coordinate of the world's vectors."""


def columns(size: int) -> Tensor:
    return retract(torch.randn(WIDTH, size, generator=torch.Generator().manual_seed(2)))


def folder_of(
    world: World, folder: Path, featurizer: Any, site: str = SITE, attribute: str = "Birthplace"
) -> Path:
    """A featurizer's folder as a fit leaves it."""
    instance = Instance.load(world.instance)
    header = FeaturizerHeader(
        method="mdas",
        attribute=attribute,
        entity_type=instance.entity_type,
        site=Site.parse(site),
        seed=0,
        model=str(world.model),
        target_fingerprint=instance.model_fingerprint,
        instance_fingerprint=instance.fingerprint,
    )
    save_featurizer(featurizer, folder, header)
    return folder


def export_args(folder: Path, style: str, out: Path) -> list[object]:
    return ["export", folder, "--format", style, "--out", out]


def import_args(world: World, path: Path, style: str, out: Path) -> list[object]:
    return [
        *("import", path, "--format", style, "--instance", world.instance, "--site", SITE),
        *("--attribute", "Birthplace", "--out", out),
    ]


def done(*args: object) -> Result:
    result = ravel(*args)
    assert result.exit_code == 0, result.output
    return result


def outcome(world: World, folder: Path) -> list[dict[str, Any]]:
    """The scores of a folder, without what names the featurizer."""
    lines = done(*score_args(world, folder), "--json").stdout.splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k not in ("cell", "method", "size")} for line in lines
    ]


def saelens_folder(folder: Path, latents: int = 40, **changes: Any) -> Path:
    """A local autoencoder in sae-lens's form that holds for any vectors: the first latents are coordinates in
    a turned basis, far enough from 0 to be always on, and the others never are."""
    turned = columns(WIDTH)
    idle = torch.zeros(WIDTH, latents - WIDTH)
    tensors = {
        "W_enc": torch.cat([turned, idle], dim=1),
        "b_enc": torch.cat([torch.full((WIDTH,), _SHIFT), torch.full((latents - WIDTH,), -1.0)]),
        "W_dec": torch.cat([turned, idle], dim=1).mT.contiguous(),
        "b_dec": -_SHIFT * turned.sum(dim=1),
    }
    config = {
        "architecture": "standard",
        "d_in": WIDTH,
        "d_sae": latents,
        "apply_b_dec_to_input": False,
        "metadata": {"hook_name": "blocks.1.hook_resid_post"},
        **changes,
    }
    folder.mkdir()
    (folder / "cfg.json").write_text(json.dumps(config))
    (folder / "sae_weights.safetensors").write_bytes(save(tensors))
    return folder


class TestThereAndBack:
    @pytest.mark.parametrize("style", ["pyvene", "mib"])
    def test_a_fitted_subspace_scores_as_before(self, style: str, world: World, tmp_path: Path) -> None:
        (tmp_path / "fast.yaml").write_text(json.dumps(FAST))
        done(*fit_args(world, tmp_path / "f", "das"), "--config", tmp_path / "fast.yaml")
        done(*export_args(tmp_path / "f", style, tmp_path / "out"))
        inside = tmp_path / "out"
        if style == "mib":
            (inside,) = inside.iterdir()
            assert inside.name == "ravel_task_LlamaForCausalLM_Birthplace"
        done(*import_args(world, inside, style, tmp_path / "back"))
        assert outcome(world, tmp_path / "back") == outcome(world, tmp_path / "f")
        assert load_featurizer(tmp_path / "back")[1].method == f"imported_{style}"
        assert done("verify", tmp_path / "back").exit_code == 0

    @pytest.mark.parametrize(
        "featurizer",
        [
            MaskedBasis((torch.arange(WIDTH) % 2).float()),
            MaskedBasis((torch.arange(WIDTH) % 2).float(), columns(WIDTH)),
        ],
        ids=["neurons", "rotated"],
    )
    @pytest.mark.parametrize("style", ["pyvene", "mib"])
    def test_masks_score_as_before(
        self, style: str, featurizer: MaskedBasis, world: World, tmp_path: Path
    ) -> None:
        folder = folder_of(world, tmp_path / "f", featurizer)
        done(*export_args(folder, style, tmp_path / "out"))
        inside = next((tmp_path / "out").iterdir()) if style == "mib" else tmp_path / "out"
        done(*import_args(world, inside, style, tmp_path / "back"))
        assert outcome(world, tmp_path / "back") == outcome(world, folder)


def foreign(style: str, root: Path) -> tuple[Path, list[object], Any]:
    """A file of another tool, flags that go with it, and the featurizer that it is."""
    basis, learned = columns(4), nn.Linear(WIDTH, 4)
    if style == "ravel-reference":
        torch.save({"layer.1.comp.block_output.unit.pos.nunit.1#0": basis.mT.contiguous()}, root / "w.pt")
        return root / "w.pt", [], Subspace(basis)
    if style == "loreft":
        torch.save({**learned.state_dict(), "rotate_layer": basis}, root / "w.bin")
        return root / "w.bin", ["--dim", 2], Subspace(basis[:, :2])
    return saelens_folder(root / "sae"), ["--latents", "3,17"], None


class TestImport:
    @pytest.mark.parametrize("style", ["ravel-reference", "loreft", "saelens"])
    def test_what_comes_in_is_scored_and_verified(self, style: str, world: World, tmp_path: Path) -> None:
        path, flags, expected = foreign(style, tmp_path)
        said = done(*import_args(world, path, style, tmp_path / "f"), *flags, "--json")
        summary = json.loads(said.stdout)
        found, header = load_featurizer(tmp_path / "f")
        assert (summary["kind"], summary["size"]) == (found.kind, found.size)
        assert (header.method, header.attribute) == (f"imported_{style.replace('-', '_')}", "Birthplace")
        noted = json.loads((tmp_path / "f" / NOTE_FILE).read_text())
        if style == "saelens":
            assert "explained variance 1.000, L0 32.0" in noted["notes"][1]
        assert (noted["format"], noted["notes"]) == (style, summary["notes"])
        assert list(noted["sha256"]) == (
            [path.name] if path.is_file() else sorted(f.name for f in path.iterdir())
        )
        if expected is not None:
            assert torch.equal(found.basis, expected.basis)  # type: ignore[arg-type]
        assert outcome(world, tmp_path / "f")[0]["n_cause"] > 0
        assert done("verify", tmp_path / "f").exit_code == 0

    def test_chosen_latents_swap_as_in_the_whole_autoencoder(self, world: World, tmp_path: Path) -> None:
        path = saelens_folder(tmp_path / "sae")
        done(*import_args(world, path, "saelens", tmp_path / "f"), "--latents", "3,17")
        found, _ = load_featurizer(tmp_path / "f")
        assert isinstance(found, Dictionary)
        assert (found.size, found.n_features) == (2, 2)
        target = TargetConfig(model=str(world.model)).open().target
        whole = load_pretrained(str(path), Site(1), target).dictionary
        mask = torch.zeros(40)
        mask[[3, 17]] = 1
        base, source = torch.randn(2, 9, WIDTH, generator=torch.Generator().manual_seed(5)).unbind()
        torch.testing.assert_close(
            found.interchange(base, source),
            whole.with_mask(mask).interchange(base, source),
            rtol=1e-4,
            atol=1e-4,
        )

    def test_an_autoencoder_that_does_not_hold_is_refused_or_noted(
        self, world: World, tmp_path: Path
    ) -> None:
        path = saelens_folder(tmp_path / "sae")
        tensors = load((path / "sae_weights.safetensors").read_bytes())
        # As if a factor of training were left out.
        (path / "sae_weights.safetensors").write_bytes(save({**tensors, "W_enc": 3 * tensors["W_enc"]}))
        args = [*import_args(world, path, "saelens", tmp_path / "f"), "--latents", "3,17"]
        refused = ravel(*args)
        assert refused.exit_code == 2
        assert "explained variance is to be at least 0.3); got explained variance -" in refused.output
        assert not (tmp_path / "f").exists()
        done(*args, "--accept-unfit")
        notes = json.loads((tmp_path / "f" / NOTE_FILE).read_text())["notes"]
        assert "On this model's own training vectors: explained variance -" in notes[1]
        assert "taken although it does not hold here" in notes[2]

    def test_without_its_error_an_autoencoder_goes_on_to_pyvene(self, world: World, tmp_path: Path) -> None:
        path = saelens_folder(tmp_path / "sae")
        done(*import_args(world, path, "saelens", tmp_path / "f"), "--latents", "3,17", "--drop-error")
        done(*export_args(tmp_path / "f", "pyvene", tmp_path / "out"))
        done(*import_args(world, tmp_path / "out", "pyvene", tmp_path / "back"))
        assert outcome(world, tmp_path / "back") == outcome(world, tmp_path / "f")


Arguments = Callable[[World, Path], list[object]]


def importing(style: str, *more: object, **flags: object) -> Arguments:
    def args(world: World, root: Path) -> list[object]:
        path, _, _ = foreign(style, root)
        made = [*import_args(world, path, style, root / "out"), *more]
        for name, value in flags.items():
            made[made.index(f"--{name}") + 1] = value
        return made

    return args


def exporting(style: str, featurizer: Any, *more: object, **changes: Any) -> Arguments:
    return lambda world, root: [
        *export_args(folder_of(world, root / "f", featurizer, **changes), style, root / "out"),
        *more,
    ]


def by_path(component: str) -> Arguments:
    """A folder that pyvene saved under a module's path, imported at block 1."""

    def args(world: World, root: Path) -> list[object]:
        folder, name = root / "pyvene", "comp_path_unit_pos_nunit_1#0"
        folder.mkdir()
        config = {
            "intervention_dimensions": [WIDTH],
            "intervention_types": ["<class 'pyvene.models.interventions.LowRankRotatedSpaceIntervention'>"],
            "representations": [[None, component, "pos", 1, *[None] * 10]],
            "sorted_keys": [name],
        }
        (folder / "config.json").write_text(json.dumps(config))
        torch.save({"rotate_layer.weight": columns(4)}, folder / f"intkey_{name}.bin")
        return import_args(world, folder, "pyvene", root / "out")

    return args


SOFT = MaskedBasis(torch.full((WIDTH,), 0.3))
TOP_K = Dictionary(
    encoder=torch.zeros(WIDTH, 4),
    encoder_bias=torch.zeros(4),
    decoder=torch.zeros(4, WIDTH),
    decoder_bias=torch.zeros(WIDTH),
    mask=torch.ones(4),
    activation=Activation("top_k", k=2),
)


def test_a_module_s_path_that_is_the_site_is_taken(world: World, tmp_path: Path) -> None:
    done(*by_path("model.layers[1].output")(world, tmp_path))
    assert json.loads((tmp_path / "out" / NOTE_FILE).read_text())["notes"] == []


class TestRefusals:
    @pytest.mark.parametrize(
        ("args", "words"),
        [
            (importing("ravel-reference", site="block_output.2@entity_last"), "weights for layer 2"),
            (importing("ravel-reference", site="head_output.1.0@entity_last"), "head_output"),
            (importing("ravel-reference", attribute="Colour"), "a known target attribute of the instance"),
            (importing("ravel-reference", "--orientation", "columns"), "orthonormal columns"),
            (importing("ravel-reference", "--orientation", "sideways"), "known orientation"),
            (importing("ravel-reference", "--latents", "1"), "--format saelens only"),
            (importing("loreft", "--orientation", "rows"), "--format ravel-reference only"),
            (importing("loreft", "--accept-unfit"), "--format saelens only"),
            (importing("loreft", "--dim", 9), "at least 9 columns"),
            (importing("saelens"), "--latents 3,17,200"),
            (importing("saelens", "--latents", "3,40"), "from 0 to 39"),
            (importing("saelens", "--latents", "x"), "whole numbers"),
            (importing("saelens", "--latents", "3", site="block_output.2@entity_last"), "block_output.1"),
            (importing("loreft", format="onnx"), "import format"),
            (by_path("model.layers[3].output"), "weights for layer 3"),
            (by_path("model.layers[1].mlp.output"), "weights for stream mlp_output"),
            (by_path("model.layers[1].mlp.input"), "what goes into an MLP"),
            (
                lambda w, r: [*importing("loreft")(w, r), "--model", w.other_model],
                "gave the instance's labels",
            ),
            (exporting("pyvene", TOP_K), "error stays with the base"),
            (exporting("mib", SOFT), "hard mask"),
            (exporting("mib", Subspace(columns(2)), attribute="*"), "one target attribute"),
            (exporting("mib", Subspace(columns(2)), site="mlp_output.1@entity_last"), "the units of MIB"),
            (exporting("onnx", Subspace(columns(2))), "export format"),
            (exporting("saebench", Subspace(columns(2))), "a run in"),
            (
                lambda w, r: [*exporting("pyvene", Subspace(columns(2)))(w, r), "--model", w.other_model],
                "--allow-foreign",
            ),
        ],
    )
    def test_each_is_one_paragraph_and_nothing_is_written(
        self, args: Arguments, words: str, world: World, tmp_path: Path
    ) -> None:
        refused = ravel(*args(world, tmp_path))
        assert refused.exit_code == 2, refused.output
        assert words in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
        assert not (tmp_path / "out").exists()

    def test_an_autoencoder_with_a_tensor_of_another_shape_is_refused(
        self, world: World, tmp_path: Path
    ) -> None:
        path = saelens_folder(tmp_path / "sae", d_sae=41)
        refused = ravel(*import_args(world, path, "saelens", tmp_path / "f"), "--latents", "3")
        assert refused.exit_code == 2
        assert "W_enc of shape" in refused.stderr

    @pytest.mark.parametrize(
        "changes", [{"metadata": 3}, {"activation_fn_kwargs": [1]}, {"d_in": "x"}, {"d_sae": 1e999}]
    )
    def test_a_damaged_autoencoder_config_is_refused(
        self, changes: dict[str, Any], world: World, tmp_path: Path
    ) -> None:
        path = saelens_folder(tmp_path / "sae", **changes)
        refused = ravel(*import_args(world, path, "saelens", tmp_path / "f"), "--latents", "3")
        assert refused.exit_code == 2, refused.output
        assert "cfg.json" in refused.stderr or "config of" in refused.stderr


@pytest.mark.parametrize("command", [["export"], ["import"]], ids=" ".join)
def test_help_tells_the_two_kinds_of_exchange_apart(command: list[str]) -> None:
    text = " ".join(done(*command, "--help").stdout.split())
    assert f"Example: ravel {command[0]}" in text
    assert f"ravel data {command[0]}" in text


def test_readers_do_not_load_pyvene() -> None:
    code = "import sys, evaluation.exchange.importing; assert 'pyvene' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
