"""Weight files of the reference, of LoReFT and of MIB: which way round, what is swapped, what is refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_files import (
    WIDTH,
    RotateLayer,
    columns,
    loreft_state,
    mib_unit,
    pyvene_folder,
    stream,
    trained,
    vectors,
)
from torch import Tensor, nn

from das.featurizers import Activation, Complement, Dictionary, Featurizer, MaskedBasis, Subspace
from das.interop import (
    Imported,
    StatedPlace,
    check_place,
    export_mib,
    first_columns,
    read_loreft,
    read_mib,
    read_pyvene,
    read_ravel_reference,
)
from das.sites import Site
from ravel.common.errors import SuiteError

KEY = "layer.14.comp.block_output.unit.pos.nunit.1#0"
RESIDUAL = "ResidualStream(Layer:3,Token:entity_last_token)"


def saved(path: Path, value: Any) -> Path:
    torch.save(value, path)
    return path


def reference_swap(weight: Tensor, base: Tensor, source: Tensor) -> Tensor:
    """The reference's formula, with the rows of a torch.nn.Linear."""
    return base + (source @ weight.mT - base @ weight.mT) @ weight


class TestReference:
    @pytest.mark.parametrize("wrapped", ["bare", "by key", "linear", "state", "nested"])
    @pytest.mark.parametrize("size", [1, 5, WIDTH])
    def test_rows_are_the_directions(self, wrapped: str, size: int, tmp_path: Path) -> None:
        weight = columns(size).mT.contiguous()
        forms: dict[str, Any] = {
            "bare": weight,
            "by key": {KEY: weight},
            "linear": {"weight": weight},
            "state": {"rotate_layer.weight": weight},
            "nested": {KEY: {"rotate_layer.weight": weight}},
        }
        found = read_ravel_reference(saved(tmp_path / "w.pt", forms[wrapped]), layer=14)
        base, source = vectors()
        torch.testing.assert_close(
            found.featurizer.interchange(base, source),
            reference_swap(weight, base, source),
            rtol=1e-4,
            atol=1e-5,
        )
        assert isinstance(found.featurizer, Subspace)
        assert torch.equal(found.featurizer.basis, columns(size))
        assert (found.place.layer == 14) == (wrapped in ("by key", "nested"))
        assert any("square" in note for note in found.notes) == (size == WIDTH)

    @pytest.mark.parametrize("size", [1, 6, WIDTH])
    def test_a_parametrised_layer_is_read_as_it_is_seen(self, size: int, tmp_path: Path) -> None:
        layer = nn.Linear(WIDTH, size, bias=False)
        trained(layer)
        state = {f"rotate_layer.{name}": value for name, value in layer.state_dict().items()}
        assert "rotate_layer.parametrizations.weight.0.base" in state
        found = read_ravel_reference(saved(tmp_path / "w.pt", state)).featurizer
        assert isinstance(found, Subspace)
        torch.testing.assert_close(found.basis, layer.weight.detach().mT, rtol=1e-4, atol=1e-5)

    def test_more_rows_than_columns_are_turned_round(self, tmp_path: Path) -> None:
        found = read_ravel_reference(saved(tmp_path / "w.pt", columns(5))).featurizer
        assert isinstance(found, Subspace)
        assert torch.equal(found.basis, columns(5))

    def test_of_a_square_matrix_the_flag_decides(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "w.pt", columns(WIDTH))
        base, source = vectors()
        made = {}
        for orientation in ("auto", "rows", "columns"):
            found = first_columns(read_ravel_reference(path, orientation=orientation), 3)
            made[orientation] = found.featurizer.interchange(base, source)
        assert torch.equal(made["auto"], made["rows"])
        torch.testing.assert_close(made["columns"], Subspace(columns(WIDTH)[:, :3]).interchange(base, source))
        assert not torch.allclose(made["rows"], made["columns"], atol=1e-2)

    def test_the_wrong_way_round_is_refused(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "w.pt", columns(5))
        with pytest.raises(SuiteError, match="orthonormal rows"):
            read_ravel_reference(path, orientation="rows")

    @pytest.mark.parametrize("never", [False, True])
    def test_a_mask_is_what_its_rotate_layer_swaps(self, never: bool, tmp_path: Path) -> None:
        mask = torch.randn(WIDTH, generator=stream(2)) - (10 if never else 0)
        rows = torch.eye(WIDTH) if never else torch.eye(WIDTH)[mask > 0]
        state = {"mask": mask, "temperature": torch.tensor(0.01), "rotate_layer.weight": rows}
        found = read_ravel_reference(saved(tmp_path / "w.pt", state))
        base, source = vectors()
        torch.testing.assert_close(
            found.featurizer.interchange(base, source), reference_swap(rows, base, source)
        )
        assert isinstance(found.featurizer, MaskedBasis)
        assert any("unit matrix" in note for note in found.notes) == never

    def test_a_mask_alone_is_hard(self, tmp_path: Path) -> None:
        mask = torch.randn(WIDTH, generator=stream(2))
        found = read_ravel_reference(saved(tmp_path / "w.pt", {"mask": mask})).featurizer
        assert torch.equal(found.mask(), (mask > 0).float())

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (torch.randn(5, WIDTH, generator=stream()), "orthonormal rows"),
            (torch.full((5, WIDTH), float("nan")), "finite"),
            (torch.zeros(WIDTH), "shape"),
            (torch.zeros(0, WIDTH), "shape"),
            (torch.zeros(2, WIDTH, dtype=torch.complex64), "another kind"),
            (torch.zeros(2, WIDTH).to_sparse(), "another kind"),
            (torch.ones(1).expand(100_000, 100_000), "another kind"),
            ({}, "empty"),
            ({3: torch.zeros(2, 2)}, "other keys"),
            ([columns(4)], "a list"),
            ({KEY: columns(4), KEY.replace("14", "15"): columns(4)}, "0 among"),
            ({"mask": torch.zeros(4), "rotate_layer.weight": torch.ones(2, 4)}, "unit matrix"),
            ({"nothing": 1}, "rotate_layer"),
        ],
    )
    def test_what_is_no_featurizer_is_refused(self, value: Any, words: str, tmp_path: Path) -> None:
        with pytest.raises(SuiteError, match=words):
            read_ravel_reference(saved(tmp_path / "w.pt", value))


class TestLoreft:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_its_subspace_is_imported_and_the_rest_left_out(self, dtype: torch.dtype, tmp_path: Path) -> None:
        state = {**loreft_state(columns(4)), "rotate_layer": columns(4).to(dtype)}
        folder = pyvene_folder(tmp_path / "in", "x", state)
        config = json.loads((folder / "config.json").read_text())
        config["intervention_types"] = ["<class 'pyreft.interventions.LoreftIntervention'>"]
        (folder / "config.json").write_text(json.dumps(config))
        found = read_loreft(folder, layer=1)
        assert isinstance(found.featurizer, Subspace)
        torch.testing.assert_close(found.featurizer.basis, columns(4), rtol=0, atol=0.01)
        assert "W and b are left out" in found.notes[-1]
        assert (found.place.layer, len(found.notes)) == (1, 1 if dtype == torch.float32 else 2)
        config["representations"][0][:2] = [None, "model.layers[3].mlp.output"]
        (folder / "config.json").write_text(json.dumps(config))
        by_path = read_loreft(folder, layer=3)
        assert (by_path.place.layer, by_path.notes[0].split(":")[0]) == (3, "UNCHECKED")
        (bin_file,) = folder.glob("*.bin")
        alone = read_loreft(bin_file)
        assert torch.equal(alone.featurizer.basis, found.featurizer.basis)
        with pytest.raises(SuiteError, match="--format loreft"):
            read_pyvene(folder, layer=1)

    def test_with_what_the_subspace_already_holds_it_is_our_interchange(self) -> None:
        """LoReFT with W h + b set to the source's coordinates is the interchange of the imported subspace."""
        (base, source), basis = vectors(), columns(4)
        edited = base + (source @ basis - base @ basis) @ basis.mT
        torch.testing.assert_close(Subspace(basis).interchange(base, source), edited, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda state: state.pop("weight"), "a tensor 'weight'"),
            (lambda state: state.update(bias=torch.zeros(9)), "shape"),
            (lambda state: state.update(weight=torch.zeros(4, 9)), "shape"),
            (lambda state: state.update(rotate_layer=columns(4).mT), "orthonormal columns"),
            (lambda state: state.pop("rotate_layer"), "rotate_layer"),
        ],
    )
    def test_a_state_that_does_not_fit_is_refused(
        self, change: Callable[[dict[str, Any]], Any], words: str, tmp_path: Path
    ) -> None:
        state = loreft_state(columns(4))
        change(state)
        with pytest.raises(SuiteError, match=words):
            read_loreft(saved(tmp_path / "w.bin", state))


def mib_swap(rotation: Tensor | None, indices: list[int] | None, base: Tensor, source: Tensor) -> Tensor:
    """CausalAbstraction's interchange: features and what they lose, some features from the source."""
    r = torch.eye(base.shape[1]) if rotation is None else rotation
    features, error = base @ r, base - (base @ r) @ r.mT
    chosen = list(range(r.shape[1])) if indices is None else indices
    features[:, chosen] = (source @ r)[:, chosen]
    return features @ r.mT + error


class TestMib:
    @pytest.mark.parametrize(
        ("rotation", "indices"),
        [
            (columns(5), None),
            (columns(5), [0, 3]),
            (columns(WIDTH), [1, 2, 30]),
            (None, [4, 5, 6]),
            (None, None),
        ],
    )
    def test_a_unit_is_read_as_it_swaps(
        self, rotation: Tensor | None, indices: list[int] | None, tmp_path: Path
    ) -> None:
        folder = mib_unit(tmp_path / "in", RESIDUAL, rotation, indices)
        base, source = vectors()
        found = read_mib(folder, layer=3)
        expected = mib_swap(rotation, indices, base, source)
        torch.testing.assert_close(found.featurizer.interchange(base, source), expected, rtol=1e-4, atol=1e-5)
        assert found.place == StatedPlace(3, "block_output", None, "entity_last")
        by_file = read_mib(folder / f"{RESIDUAL}_indices")
        assert torch.equal(
            by_file.featurizer.interchange(base, source), found.featurizer.interchange(base, source)
        )

    @pytest.mark.parametrize(
        "found",
        [
            Subspace(columns(5)),
            MaskedBasis((torch.arange(WIDTH) % 3 == 0).float()),
            MaskedBasis((torch.arange(WIDTH) % 3 == 0).float(), columns(WIDTH)),
            MaskedBasis(torch.ones(WIDTH)),
        ],
        ids=["subspace", "neurons", "rotated", "whole"],
    )
    @pytest.mark.parametrize(
        "site", [Site(2), Site(0, position="prompt_last"), Site(1, "head_output", head=3)], ids=str
    )
    def test_there_and_back(self, found: Featurizer, site: Site, tmp_path: Path) -> None:
        name = export_mib(found, site, tmp_path / "out")
        assert sorted(f.name for f in (tmp_path / "out").iterdir()) == sorted(
            f"{name}_{suffix}" for suffix in ("featurizer", "inverse_featurizer", "indices")
        )
        back = read_mib(tmp_path / "out", layer=site.layer)
        check_place(back.place, site, tmp_path)
        (base, source), indices = vectors(), json.loads((tmp_path / "out" / f"{name}_indices").read_text())
        expected = found.interchange(base, source)
        torch.testing.assert_close(back.featurizer.interchange(base, source), expected, rtol=1e-4, atol=1e-5)
        # What the track's own code does with these files, by its formula.
        content = torch.load(tmp_path / "out" / f"{name}_featurizer", weights_only=True)
        rotation = content["model_info"]["additional_config"].get("rotation_matrix")
        torch.testing.assert_close(mib_swap(rotation, indices, base, source), expected, rtol=1e-4, atol=1e-5)

    def test_the_state_loads_into_the_tracks_modules(self, tmp_path: Path) -> None:
        """Its loader copies rotation_matrix into a layer, parametrises it and loads the state strictly."""
        name = export_mib(Subspace(columns(5)), Site(1), tmp_path)
        for suffix in ("featurizer", "inverse_featurizer"):
            content = torch.load(tmp_path / f"{name}_{suffix}", weights_only=True)
            module = nn.Module()
            module.rotate = trained(
                RotateLayer(content["model_info"]["additional_config"]["rotation_matrix"])
            )
            module.load_state_dict(content["state_dict"])
            torch.testing.assert_close(module.rotate.weight, columns(5), rtol=1e-4, atol=1e-5)
            assert content["model_info"][f"{suffix}_class"].startswith("Subspace")

    def test_equal_featurizers_give_equal_bytes(self, tmp_path: Path) -> None:
        for folder in ("a", "b"):
            export_mib(Subspace(columns(5)), Site(1), tmp_path / folder)
        assert {f.name: f.read_bytes() for f in (tmp_path / "a").iterdir()} == {
            f.name: f.read_bytes() for f in (tmp_path / "b").iterdir()
        }

    @pytest.mark.parametrize("name", ["ResidualStream(Layer-3,block_output,Token-last_token)", "mine"])
    def test_later_names_are_known_and_other_names_say_nothing(self, name: str, tmp_path: Path) -> None:
        found = read_mib(mib_unit(tmp_path, name, columns(2), None), layer=3)
        stated = StatedPlace(3, "block_output", None, "prompt_last")
        assert found.place == (StatedPlace() if name == "mine" else stated)

    @pytest.mark.parametrize(
        ("found", "site", "words"),
        [
            (MaskedBasis(torch.full((WIDTH,), 0.5)), Site(1), "nothing to swap"),
            (MaskedBasis(torch.full((WIDTH,), 0.7)), Site(1), "soft mask"),
            (Subspace(torch.zeros(WIDTH, 0)), Site(1), "nothing to swap"),
            (Subspace.oblique(columns(3), columns(3, seed=7)), Site(1), "read along other directions"),
            (
                Dictionary(
                    encoder=torch.zeros(WIDTH, 4),
                    encoder_bias=torch.zeros(4),
                    decoder=torch.zeros(4, WIDTH),
                    decoder_bias=torch.zeros(WIDTH),
                    mask=torch.ones(4),
                    activation=Activation(),
                ),
                Site(1),
                "a dictionary",
            ),
            (Complement(Subspace(columns(3))), Site(1), "a complement"),
            (Subspace(columns(3)), Site(1, "mlp_output"), "the units of MIB"),
        ],
    )
    def test_what_mib_cannot_express_is_refused(
        self, found: Featurizer, site: Site, words: str, tmp_path: Path
    ) -> None:
        with pytest.raises(SuiteError, match=words):
            export_mib(found, site, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("indices", "words"),
        [([0, 0], "each once"), ([5], "from 0 to 4"), ([-1], "from 0 to 4"), ([True], "whole numbers")],
    )
    def test_indices_that_do_not_fit_are_refused(self, indices: Any, words: str, tmp_path: Path) -> None:
        with pytest.raises(SuiteError, match=words):
            read_mib(mib_unit(tmp_path / "in", RESIDUAL, columns(5), indices), layer=3)

    def test_two_different_rotations_are_refused(self, tmp_path: Path) -> None:
        folder = mib_unit(tmp_path / "in", RESIDUAL, columns(5), None)
        mib_unit(tmp_path / "other", RESIDUAL, columns(5, seed=4), None)
        other = tmp_path / "other" / f"{RESIDUAL}_inverse_featurizer"
        other.rename(folder / other.name)
        with pytest.raises(SuiteError, match="the same rotation"):
            read_mib(folder, layer=3)

    def test_before_the_first_block_there_is_no_site(self, tmp_path: Path) -> None:
        with pytest.raises(SuiteError, match="before the first one"):
            read_mib(mib_unit(tmp_path, "ResidualStream(Layer:-1,Token:last_token)", columns(2), None))


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


READERS: dict[str, Callable[[Path], Imported]] = {
    "reference": read_ravel_reference,
    "loreft": read_loreft,
    "mib": read_mib,
    "pyvene": read_pyvene,
}


def damaged_files(root: Path) -> dict[str, Path]:
    """A path per reader, and the file of it that will be replaced."""
    mib = mib_unit(root / "mib", RESIDUAL, columns(5), None) / f"{RESIDUAL}_featurizer"
    kind = "LowRankRotatedSpaceIntervention"
    folder = pyvene_folder(root / "pyvene", kind, {"rotate_layer.weight": columns(3)})
    (pyvene_file,) = folder.glob("*.bin")
    return {
        "reference": saved(root / "w.pt", columns(5)),
        "loreft": saved(root / "w.bin", loreft_state(columns(5))),
        "mib": mib,
        "pyvene": pyvene_file,
    }


@pytest.mark.parametrize("name", READERS)
class TestDamage:
    def read(self, name: str, file: Path) -> Imported:
        return READERS[name](file.parent if name == "pyvene" else file)

    def test_whole_files_are_read(self, name: str, tmp_path: Path) -> None:
        assert self.read(name, damaged_files(tmp_path)[name]).featurizer.width == WIDTH

    def test_code_is_never_run(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        file = damaged_files(tmp_path)[name]
        for write in (
            lambda: torch.save({"weight": _Bomb()}, file),
            lambda: file.write_bytes(pickle.dumps(_Bomb())),
        ):
            write()
            with pytest.raises(SuiteError, match=r"state_dict\(\) instead"):
                self.read(name, file)
        torch.save(nn.Linear(3, 3), file)
        with pytest.raises(SuiteError, match=r"state_dict\(\) instead"):
            self.read(name, file)
        assert not (tmp_path / "exploded").exists()

    def test_every_cut_is_a_paragraph(self, name: str, tmp_path: Path) -> None:
        file = damaged_files(tmp_path)[name]
        content = file.read_bytes()
        for length in (0, 1, 40, len(content) // 2, len(content) - 30):
            file.write_bytes(content[:length])
            with pytest.raises(SuiteError, match="bytes that are not"):
                self.read(name, file)
        file.unlink()
        with pytest.raises(SuiteError):
            self.read(name, file)

    def test_flipped_bytes_raise_nothing_else(self, name: str, tmp_path: Path) -> None:
        file = damaged_files(tmp_path)[name]
        content, draw = file.read_bytes(), stream(3)
        refused = 0
        for _ in range(60):
            changed = bytearray(content)
            for place in torch.randint(len(content), (8,), generator=draw).tolist():
                changed[place] = int(torch.randint(256, (1,), generator=draw))
            file.write_bytes(bytes(changed))
            try:
                self.read(name, file)
            except SuiteError:
                refused += 1
        assert refused

    @pytest.mark.parametrize(
        "value", [3, None, "text", [], {}, {"model_info": 1}, {"weight": "x"}, float("nan")]
    )
    def test_plain_values_of_another_kind_are_refused(self, name: str, value: Any, tmp_path: Path) -> None:
        file = saved(damaged_files(tmp_path)[name], value)
        with pytest.raises(SuiteError):
            self.read(name, file)


def test_another_place_than_the_site_is_refused() -> None:
    stated = StatedPlace(3, "block_output", None, "entity_last")
    check_place(stated, Site(3), Path("x"))
    for site in (Site(2), Site(3, "mlp_output"), Site(3, position="prompt_last")):
        with pytest.raises(SuiteError, match="another part"):
            check_place(stated, site, Path("x"))


def test_only_a_subspace_has_first_columns() -> None:
    subspace = Imported(Subspace(columns(5)), "x")
    assert first_columns(subspace, None) is subspace
    assert first_columns(subspace, 2).featurizer.size == 2
    for imported, size in ((subspace, 6), (subspace, 0), (Imported(MaskedBasis(torch.ones(4)), "x"), 2)):
        with pytest.raises(SuiteError, match="--dim"):
            first_columns(imported, size)
