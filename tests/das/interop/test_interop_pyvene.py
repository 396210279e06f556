"""Exchange with pyvene: what it loads swaps as our engine does, and what it saved is read as it swaps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pyvene
import torch
from foreign_files import WIDTH, columns, pyvene_folder, stream, vectors
from torch import Tensor

from das.engine import DirectEngine, ForcedPair
from das.engine.base.batch import PromptEncoder
from das.engine.base.hooks import preserved
from das.featurizers import Activation, Dictionary, Featurizer, MaskedBasis, ReversibleMap, Subspace
from das.interop import check_place, read_pyvene
from das.interop.pyvene_export import export_pyvene
from das.methods.trained._reversible import monotone_start
from das.models import FAMILIES
from das.models.base import TargetModel
from das.sites import STREAMS, Site, Stream
from ravel.common.errors import SuiteError

KNOWN_TO_PYVENE = ("gemma2", "gpt2", "gpt_neox", "llama", "mistral", "qwen2")
RELATIVE = 1e-4
"""As the engines agree."""
KINDS = ("subspace", "whole", "nothing", "neurons", "soft", "rotated", "dictionary", "jump_relu")
# pyvene copies its temperature with torch.tensor on every call.
pytestmark = pytest.mark.filterwarnings("ignore:To copy construct from a tensor")


def featurizer(kind: str, width: int = WIDTH) -> Featurizer:
    """A featurizer of each form that pyvene has a form for."""
    soft = torch.rand(width, generator=stream(3))
    made: dict[str, Callable[[], Featurizer]] = {
        "subspace": lambda: Subspace(columns(5, width=width)),
        "whole": lambda: Subspace(columns(width, width=width)),
        "nothing": lambda: Subspace(torch.zeros(width, 0)),
        "neurons": lambda: MaskedBasis((soft > 0.5).float()),
        "soft": lambda: MaskedBasis(soft),
        "rotated": lambda: MaskedBasis(soft.round(), columns(width, width=width)),
        "dictionary": lambda: dictionary(Activation("relu"), width=width),
        "jump_relu": lambda: dictionary(
            Activation("jump_relu", threshold=torch.rand(3 * width, generator=stream(4))), width=width
        ),
    }
    return made[kind]()


def reversible_map() -> ReversibleMap:
    """A map that bends nothing, for its form is what counts."""
    units = {"centre": torch.zeros(WIDTH), "scale": torch.tensor(1.0)}
    return ReversibleMap(monotone_start(units, columns(WIDTH), blocks=1), 3)


def dictionary(activation: Activation, *, width: int = WIDTH, keeps_error: bool = False) -> Dictionary:
    """A dictionary with a centre of its own, of which every third latent is swapped."""
    draw = stream(6)
    return Dictionary(
        encoder=torch.randn(width, 3 * width, generator=draw),
        encoder_bias=torch.randn(3 * width, generator=draw),
        decoder=torch.randn(3 * width, width, generator=draw) / width,
        decoder_bias=torch.randn(width, generator=draw),
        centre=torch.randn(width, generator=draw),
        mask=(torch.arange(3 * width) % 3 == 0).float(),
        activation=activation,
        keeps_error=keeps_error,
    )


def swapped_by_pyvene(folder: Path, target: TargetModel, pairs: Sequence[ForcedPair], site: Site) -> Tensor:
    """The logits after the base's last token, each pair on its own, from the folder as pyvene loads it."""
    encoder, found = PromptEncoder(target.tokenizer), []
    with preserved(target.model), torch.no_grad():
        loaded = pyvene.IntervenableModel.load(str(folder), target.model)
        for pair in pairs:
            inputs = [
                {"input_ids": torch.tensor([encoder.encode([prompt.text])[0].ids])}
                for prompt in (pair.base, pair.source)
            ]
            places: list[Any] = [[[encoder.position(p, site.position)]] for p in (pair.source, pair.base)]
            if site.head is not None:
                places = [[[[[site.head]], place]] for place in places]
            else:
                places = [[place] for place in places]
            _, swapped = loaded(inputs[0], [inputs[1]], {"sources->base": tuple(places)})
            found.append(swapped.logits[0, -1])
    return torch.stack(found)


@pytest.fixture(scope="module")
def pairs(make_prompt: Callable[..., Any]) -> list[ForcedPair]:
    near, far = make_prompt("%s is a city in", "Rome"), make_prompt("The well known city of %s", "Ulm")
    return [ForcedPair(near, far, (5,)), ForcedPair(far, near, (9,))]


class TestExport:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox"])
    def test_logits_are_those_of_our_engine(
        self,
        family: str,
        kind: str,
        target_of: Callable[[str], TargetModel],
        pairs: list[ForcedPair],
        tmp_path: Path,
    ) -> None:
        target, site = target_of(family), Site(1)
        found = featurizer(kind, target.d_model)
        export_pyvene(found, site, target, tmp_path / "out")
        ours = DirectEngine(target).interchange_logits(pairs, site, found)[:, 0]
        theirs = swapped_by_pyvene(tmp_path / "out", target, pairs, site)
        torch.testing.assert_close(theirs, ours, rtol=RELATIVE, atol=RELATIVE * float(ours.abs().max()))
        plain = DirectEngine(target).interchange_logits(pairs, site, None)[:, 0]
        assert torch.allclose(ours, plain, rtol=1e-3) == (kind == "nothing")

    @pytest.mark.parametrize("stream_name", STREAMS)
    @pytest.mark.parametrize("family", FAMILIES.names())
    def test_every_stream_of_every_family_agrees_or_is_refused(
        self,
        family: str,
        stream_name: Stream,
        target_of: Callable[[str], TargetModel],
        pairs: list[ForcedPair],
        tmp_path: Path,
    ) -> None:
        target = target_of(family)
        head = 2 if stream_name == "head_output" else None
        site = Site(1, stream_name, "entity_last" if family in ("gpt2", "gemma2") else "prompt_last", head)
        found = Subspace(columns(3, width=target.width(site)))
        # Its miniature has heads of another length than an equal share of the stream.
        unequal = family == "mistral" and head is not None
        if family not in KNOWN_TO_PYVENE or unequal:
            with pytest.raises(SuiteError, match="pyvene reckons" if unequal else "pyvene"):
                export_pyvene(found, site, target, tmp_path / "out")
            return
        export_pyvene(found, site, target, tmp_path / "out")
        ours = DirectEngine(target).interchange_logits(pairs, site, found)[:, 0]
        theirs = swapped_by_pyvene(tmp_path / "out", target, pairs, site)
        torch.testing.assert_close(theirs, ours, rtol=RELATIVE, atol=RELATIVE * float(ours.abs().max()))

    @pytest.mark.parametrize("kind", KINDS)
    def test_read_back_it_swaps_as_before(
        self, kind: str, target_of: Callable[[str], TargetModel], tmp_path: Path
    ) -> None:
        target, (base, source) = target_of("llama"), vectors()
        found = featurizer(kind)
        export_pyvene(found, Site(2), target, tmp_path / "out")
        back = read_pyvene(tmp_path / "out", layer=2)
        assert (back.place.layer, back.place.stream) == (2, "block_output")
        torch.testing.assert_close(
            back.featurizer.interchange(base, source), found.interchange(base, source), rtol=1e-5, atol=2e-5
        )

    def test_equal_featurizers_give_equal_bytes_and_the_random_state_stays(
        self, target_of: Callable[[str], TargetModel], tmp_path: Path
    ) -> None:
        torch.manual_seed(11)
        expected = torch.rand(1)
        torch.manual_seed(11)
        for name in ("a", "b"):
            export_pyvene(featurizer("subspace"), Site(1), target_of("llama"), tmp_path / name)
        assert torch.equal(torch.rand(1), expected)
        first, second = (
            {f.name: hashlib.sha256(f.read_bytes()).digest() for f in (tmp_path / name).iterdir()}
            for name in ("a", "b")
        )
        assert first == second

    def test_the_model_keeps_its_hooks(self, target_of: Callable[[str], TargetModel], tmp_path: Path) -> None:
        target, calls = target_of("llama"), []
        handle = target.model.register_forward_hook(lambda *_: calls.append(1))
        try:
            export_pyvene(featurizer("neurons"), Site(1), target, tmp_path / "out")
            with torch.no_grad():
                target.model(torch.tensor([[1, 5]]))
        finally:
            handle.remove()
        assert calls == [1]

    @pytest.mark.parametrize(
        ("found", "family", "words"),
        [
            (Subspace.oblique(columns(3), columns(3, seed=9)), "llama", "read along other directions"),
            (dictionary(Activation("relu"), keeps_error=True), "llama", "error stays with the base"),
            (dictionary(Activation("top_k", k=3)), "llama", "top-k"),
            (
                dictionary(Activation("relu")).with_mask(torch.full((96,), 0.5), keeps_error=False),
                "llama",
                "soft",
            ),
            (
                dictionary(Activation("jump_relu", threshold=torch.full((96,), -1.0))),
                "llama",
                "negative thresholds",
            ),
            (reversible_map(), "llama", "no intervention of pyvene has its form"),
            (Subspace(columns(3)), "phi", "no table"),
        ],
    )
    def test_what_pyvene_cannot_express_is_refused_with_the_reason(
        self,
        found: Featurizer,
        family: str,
        words: str,
        target_of: Callable[[str], TargetModel],
        tmp_path: Path,
    ) -> None:
        with pytest.raises(SuiteError, match=words):
            export_pyvene(found, Site(1), target_of(family), tmp_path / "out")
        assert not (tmp_path / "out").exists()


def intervention_of(name: str) -> Any:
    """An intervention as pyvene makes it, off its start values."""
    kind = getattr(pyvene, name)
    made = kind(embed_dim=WIDTH, low_rank_dimension=6, latent_dim=40)
    draw = stream(8)
    with torch.no_grad():
        for name_of, parameter in made.named_parameters():
            if parameter.requires_grad and parameter.ndim:
                moved = torch.randn(parameter.shape, generator=draw) * 0.2
                # torch's parametrisation reads the diagonal as signs; training leaves it alone.
                parameter.add_(moved.tril(-1) if name_of.endswith("original") else moved)
        if hasattr(made, "temperature"):
            made.temperature.fill_(0.7)
    return made


class TestImport:
    @pytest.mark.parametrize(
        ("name", "dimension"),
        [
            ("LowRankRotatedSpaceIntervention", WIDTH),
            ("RotatedSpaceIntervention", 4),
            ("RotatedSpaceIntervention", WIDTH),
            ("BoundlessRotatedSpaceIntervention", WIDTH),
            ("SigmoidMaskRotatedSpaceIntervention", WIDTH),
            ("SigmoidMaskIntervention", WIDTH),
            ("JumpReLUAutoencoderIntervention", 3),
            ("AutoencoderIntervention", [1, 5, 17]),
            ("VanillaIntervention", WIDTH),
            ("VanillaIntervention", 7),
        ],
    )
    def test_it_swaps_as_pyvene_does(self, name: str, dimension: Any, tmp_path: Path) -> None:
        theirs, (base, source) = intervention_of(name), vectors()
        theirs.set_interchange_dim(dimension)
        folder = pyvene_folder(tmp_path / "in", name, theirs.state_dict(), dimension=dimension)
        found = read_pyvene(folder, width=WIDTH, layer=1)
        assert found.form == name
        with torch.no_grad():
            expected = theirs(base.clone(), source.clone())
        assert not torch.allclose(expected, base)
        torch.testing.assert_close(found.featurizer.interchange(base, source), expected, rtol=1e-4, atol=1e-5)

    def test_columns_are_the_directions(self, tmp_path: Path) -> None:
        state = {"rotate_layer.weight": columns(4)}
        folder = pyvene_folder(tmp_path / "in", "LowRankRotatedSpaceIntervention", state)
        found = read_pyvene(folder).featurizer
        assert isinstance(found, Subspace)
        assert torch.equal(found.basis, columns(4))
        turned = {"rotate_layer.weight": columns(4).mT}
        with pytest.raises(SuiteError, match="orthonormal columns"):
            read_pyvene(pyvene_folder(tmp_path / "turned", "LowRankRotatedSpaceIntervention", turned))

    def test_half_precision_is_mended_and_said(self, tmp_path: Path) -> None:
        state = {"rotate_layer.weight": columns(4).bfloat16()}
        found = read_pyvene(pyvene_folder(tmp_path / "in", "LowRankRotatedSpaceIntervention", state))
        assert any("half precision" in note for note in found.notes)
        (base, source), exact = vectors(), Subspace(columns(4))
        torch.testing.assert_close(
            found.featurizer.interchange(base, source), exact.interchange(base, source), rtol=0, atol=0.05
        )

    def test_one_of_several_is_chosen_by_layer_or_by_name(self, tmp_path: Path) -> None:
        kind = "SigmoidMaskIntervention"
        folder = pyvene_folder(tmp_path / "in", kind, intervention_of(kind).state_dict(), layer=1)
        one = json.loads((folder / "config.json").read_text())
        pyvene_folder(folder, kind, intervention_of(kind).state_dict(), layer=3)
        two = json.loads((folder / "config.json").read_text())
        both = {key: one[key] + two[key] if isinstance(one[key], list) else one[key] for key in one}
        (folder / "config.json").write_text(json.dumps(both))
        assert read_pyvene(folder, layer=3).place.layer == 3
        assert read_pyvene(folder, layer=3, part=one["sorted_keys"][0]).place.layer == 1
        with pytest.raises(SuiteError, match="0 among"):
            read_pyvene(folder, layer=2)
        with pytest.raises(SuiteError, match="a part 'nonesuch'"):
            read_pyvene(folder, layer=3, part="nonesuch")

    @pytest.mark.parametrize(
        ("family", "component", "place"),
        [
            ("llama", "model.layers[3].output", (3, "block_output")),
            ("llama", "model.layers.3.output", (3, "block_output")),
            ("llama", "layers[3].output", (3, "block_output")),
            ("llama", "model.layers[3].input", (2, "block_output")),
            ("llama", "model.layers[2].mlp.output", (2, "mlp_output")),
            ("llama", "model.layers[2].self_attn.output", (2, "attention_output")),
            ("llama", "model.layers[2].self_attn.o_proj.output", (2, "attention_output")),
            ("gpt2", "transformer.h[1].mlp.output", (1, "mlp_output")),
            ("gpt_neox", "gpt_neox.layers[0].attention.output", (0, "attention_output")),
            ("llama", "block_input", (0, "block_output")),
        ],
    )
    def test_a_module_s_path_is_a_place(
        self,
        family: str,
        component: str,
        place: tuple[int, str],
        target_of: Callable[[str], TargetModel],
        tmp_path: Path,
    ) -> None:
        folder = pyvene_folder(tmp_path / "in", "VanillaIntervention", None, component=component)
        found = read_pyvene(folder, width=WIDTH, layer=place[0], target=target_of(family))
        assert ((found.place.layer, found.place.stream), found.notes) == (place, ())
        check_place(found.place, Site(place[0], place[1]), folder)  # type: ignore[arg-type]
        for site in (Site(place[0] + 1, place[1]), Site(place[0], "head_output", head=0)):  # type: ignore[arg-type]
            with pytest.raises(SuiteError, match=r"weights for (layer|stream)"):
                check_place(found.place, site, folder)

    @pytest.mark.parametrize(
        ("family", "component", "words"),
        [
            ("gpt2", "transformer.h[3].attn.c_proj.input", "all heads of an attention side by side"),
            ("llama", "model.layers[3].mlp.input", "what goes into an MLP"),
            ("llama", "model.layers[0].input", "what goes into the first block"),
            ("llama", "model.norm.output", "LlamaRMSNorm outside the blocks"),
            ("llama", "mlp_activation", "one of block_output, attention_output"),
        ],
    )
    def test_a_place_that_is_no_site_is_refused(
        self,
        family: str,
        component: str,
        words: str,
        target_of: Callable[[str], TargetModel],
        tmp_path: Path,
    ) -> None:
        folder = pyvene_folder(tmp_path / "in", "VanillaIntervention", None, component=component)
        with pytest.raises(SuiteError, match=words):
            read_pyvene(folder, width=WIDTH, layer=3, target=target_of(family))

    @pytest.mark.parametrize(
        ("component", "layer"),
        [
            ("model.layers[3].mlp.act_fn.output", 3),
            ("decoder.stack[3].ffn.output", 3),
            ("model.layers[3]", 3),
            ("model.final.output", None),
        ],
    )
    def test_a_path_that_is_not_understood_is_said_to_be_unchecked(
        self,
        component: str,
        layer: int | None,
        target_of: Callable[[str], TargetModel],
        tmp_path: Path,
    ) -> None:
        folder = pyvene_folder(tmp_path / "in", "VanillaIntervention", None, component=component)
        for target in (target_of("llama"), None):
            found = read_pyvene(folder, width=WIDTH, layer=3, target=target)
            assert (found.place.layer, found.place.stream) == (layer, None)
            assert found.notes[0].startswith(f"UNCHECKED: the file names its place as {component}, ")

    @pytest.mark.parametrize("component", ["transformer.h[3].output", "transformer.h[2].mlp.output"])
    def test_a_place_by_path_is_where_pyvene_hooks(
        self,
        component: str,
        target_of: Callable[[str], TargetModel],
        pairs: list[ForcedPair],
        tmp_path: Path,
    ) -> None:
        target = target_of("gpt2")
        folder = pyvene_folder(tmp_path / "in", "VanillaIntervention", None, component=component)
        place = read_pyvene(folder, width=WIDTH, layer=3, target=target).place
        assert place.layer is not None
        assert place.stream is not None
        rows = [pyvene.RepresentationConfig(None, component, "pos", 1)]
        config = pyvene.IntervenableConfig(rows, pyvene.VanillaIntervention)
        ids = [
            torch.tensor([PromptEncoder(target.tokenizer).encode([prompt.text])[0].ids])
            for prompt in (pairs[0].base, pairs[0].source)
        ]
        with preserved(target.model), torch.no_grad():
            theirs = pyvene.IntervenableModel(config, target.model)(
                {"input_ids": ids[0]},
                [{"input_ids": ids[1]}],
                {"sources->base": (ids[1].shape[1] - 1, ids[0].shape[1] - 1)},
            )[1].logits[0, -1]
        site = Site(place.layer, place.stream, "prompt_last")
        whole = MaskedBasis(torch.ones(target.d_model))
        ours = DirectEngine(target).interchange_logits(pairs[:1], site, whole)[0, 0]
        torch.testing.assert_close(theirs, ours, rtol=RELATIVE, atol=RELATIVE * float(ours.abs().max()))

    def test_a_partition_is_spoken_of(self, tmp_path: Path) -> None:
        kind = "RotatedSpaceIntervention"
        rows = [[1, "block_output", "pos", 1, None, None, None, [[0, 4], [4, 32]], *[None] * 6]]
        state = intervention_of(kind).state_dict()
        found = read_pyvene(pyvene_folder(tmp_path / "in", kind, state, representations=rows))
        assert any("partition" in note for note in found.notes)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"intervention_types": ["<class 'os.system'>"]}, "system"),
            ({"intervention_types": [3]}, "no plain name"),
            ({"sorted_keys": ["../../etc/passwd"]}, "no plain name"),
            ({"sorted_keys": None}, "no list"),
            ({"sorted_keys": ["a", "b"]}, "different lengths"),
            ({"representations": [[1]]}, "neither a list nor an object"),
            ({"representations": {}}, "no lists"),
            ({"representations": [[1, "block_output", "pos", 2, None]]}, "one token"),
            ({"intervention_dimensions": ["many"]}, "number of leading coordinates"),
        ],
    )
    def test_a_damaged_config_is_refused(self, changes: dict[str, Any], words: str, tmp_path: Path) -> None:
        kind = "RotatedSpaceIntervention"
        folder = pyvene_folder(tmp_path / "in", kind, intervention_of(kind).state_dict())
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(SuiteError, match=words):
            read_pyvene(folder)
