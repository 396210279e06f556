"""GGUF files: weights and ids come out as they went in, and what can't be read is refused in a paragraph."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, quants
from gguf_files import CUTS, SPECIALS, Vocabulary, byte_tokenizer, tiny_llama, write_gguf
from safetensors import SafetensorError
from tokenizers import Tokenizer

from das.models.base import TargetModel
from das.models.fetching.fetch import fetch_model
from das.models.fetching.provenance import PROVENANCE, provenance_of
from das.models.load import load_target
from das.models.tokenizing.probes import PROBES, ids_of
from ravel.common.errors import SuiteError
from ravel.common.io import sha256_file

TEXT = "Rome is the capital of Italy,  12 times"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAVEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return byte_tokenizer("smollm")


@pytest.fixture(scope="module")
def file(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole file in float32; leave it unchanged."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    return write_gguf(path, tiny_llama(tokenizer.get_vocab_size()), Vocabulary.of(tokenizer, "smollm"))


def logits(target: TargetModel) -> torch.Tensor:
    ids = torch.tensor([ids_of(target.tokenizer, TEXT, special=True)])
    return target.model(ids).logits


def refused(path: Path, cache: Path, out: Path, words: str) -> None:
    """Neither way of reading a file may leave anything behind but what keeps two commands apart."""
    for call in (lambda: load_target(str(path)), lambda: fetch_model(str(path), out)):
        with pytest.raises(SuiteError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert not out.exists()
    assert [p for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock"] == []
    assert sorted(p.name for p in path.parent.iterdir() if p.name.endswith(".part")) == []


class TestWeights:
    @pytest.mark.parametrize("tied", [True, False])
    def test_float_weights_are_the_same_to_the_bit(
        self, tied: bool, tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        model = tiny_llama(tokenizer.get_vocab_size(), tied=tied)
        path = write_gguf(tmp_path / "tiny.gguf", model, Vocabulary.of(tokenizer, "smollm"))
        target = load_target(str(path))
        assert set(target.model.state_dict()) == set(model.state_dict())
        for name, tensor in model.state_dict().items():
            assert torch.equal(target.model.state_dict()[name], tensor), name
        assert target.parts["quantisation"] == "none"
        assert (target.family.name, target.n_layers, target.end_ids) == ("llama", 2, frozenset({2}))

    @pytest.mark.parametrize("stored", [GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_1])
    def test_quantised_weights_are_what_they_stand_for(
        self, stored: GGMLQuantizationType, tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        model = tiny_llama(tokenizer.get_vocab_size())
        path = write_gguf(tmp_path / "tiny.gguf", model, Vocabulary.of(tokenizer, "smollm"), stored=stored)
        target = load_target(str(path))
        up = model.model.layers[1].mlp.up_proj.weight.detach().numpy()
        expected = quants.dequantize(quants.quantize(up, stored), stored)
        assert torch.equal(target.model.model.layers[1].mlp.up_proj.weight, torch.from_numpy(expected))
        known = provenance_of(target.folder)
        assert known is not None
        assert known.quantisation == {"F32": 5, stored.name: 15}
        assert (known.sha256, known.licence) == (sha256_file(path), "mit")

    def test_the_file_of_the_weights_is_part_of_the_instrument(
        self, tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        """Only where weights were quantised; the same bytes from elsewhere are the same instrument."""
        said = Vocabulary.of(tokenizer, "smollm")
        stored = GGMLQuantizationType.Q8_0
        path = write_gguf(tmp_path / "a.gguf", tiny_llama(len(said.tokens)), said, stored=stored)
        other = path.rename(tmp_path / "b.gguf")
        fetched = fetch_model(str(other), tmp_path / "out").folder
        by_file, by_folder = load_target(str(other)), load_target(str(fetched))
        assert by_file.instrument == by_folder.instrument
        (fetched / PROVENANCE).unlink()
        assert load_target(str(fetched)).instrument.differences(by_file.parts) == ("quantisation",)

    def test_a_file_is_made_into_a_folder_once(
        self, file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target = load_target(str(file))
        assert target.name == str(file)
        assert target.folder is not None
        assert target.folder.is_relative_to(cache)
        monkeypatch.setattr("das.models.fetching.folders.convert", None)
        assert torch.equal(logits(load_target(str(file))), logits(target))


class TestPositions:
    """transformers takes plain rotary positions whatever the file says; to the bit, for files in float32."""

    LLAMA3: ClassVar[dict[str, Any]] = {
        **{"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 32.0, "low_freq_factor": 1.0},
        **{"high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
    }

    @staticmethod
    def factors() -> np.ndarray[Any, Any]:
        """As llama.cpp's converter writes them for Llama 3.2 (`generate_extra_tensors` of LlamaModel)."""
        found = []
        for power in range(0, 8, 2):
            length = 2 * math.pi * 500_000 ** (power / 8)
            if length < 8192 / 4:
                found.append(1.0)
            elif length > 8192:
                found.append(32.0)
            else:
                smooth = (8192 / length - 1) / (4 - 1)
                found.append(1 / ((1 - smooth) / 32 + smooth))
        return np.array(found, dtype=np.float32)

    def test_factors_of_llama_3(self, tokenizer: Tokenizer, tmp_path: Path) -> None:
        model = tiny_llama(tokenizer.get_vocab_size(), rotary=self.LLAMA3, longest=131_072)
        said, also = Vocabulary.of(tokenizer, "smollm"), {"rope_freqs.weight": self.factors()}
        target = load_target(str(write_gguf(tmp_path / "t.gguf", model, said, also=also)))
        assert len(set(self.factors())) == 3
        ids = torch.tensor([ids_of(target.tokenizer, TEXT, special=True)])
        assert torch.equal(target.model(ids).logits, model(ids).logits)
        assert target.config.rope_parameters == model.config.rope_parameters

    def test_linear_scaling(self, tokenizer: Tokenizer, tmp_path: Path) -> None:
        rotary = {"rope_type": "linear", "rope_theta": 20_000.0, "factor": 4.0}
        model = tiny_llama(tokenizer.get_vocab_size(), rotary=rotary)
        settings = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
        said = Vocabulary.of(tokenizer, "smollm")
        target = load_target(str(write_gguf(tmp_path / "t.gguf", model, said, settings=settings)))
        ids = torch.tensor([ids_of(target.tokenizer, TEXT, special=True)])
        assert torch.equal(target.model(ids).logits, model(ids).logits)

    def test_the_default_would_answer_otherwise(self, tokenizer: Tokenizer) -> None:
        """Else the tests above could not tell."""
        words = tokenizer.get_vocab_size()
        ids = torch.tensor([tokenizer.encode(TEXT).ids])
        plain = {"rope_type": "default", "rope_theta": 500_000.0}
        scaled, other = (tiny_llama(words, rotary=r, longest=131_072) for r in (self.LLAMA3, plain))
        assert not torch.equal(scaled(ids).logits, other(ids).logits)


class TestTokenizers:
    @pytest.mark.parametrize("cut", CUTS)
    def test_ids_are_the_models_own(self, cut: str, tmp_path: Path) -> None:
        bos = cut == "llama-bpe"
        own = byte_tokenizer(cut, bos=bos)
        model = tiny_llama(own.get_vocab_size())
        target = load_target(str(write_gguf(tmp_path / "t.gguf", model, Vocabulary.of(own, cut))))
        for text in (*PROBES, "a  12", "\n\n1", SPECIALS[2]):
            assert ids_of(target.tokenizer, text, special=True) == own.encode(text).ids, text
            assert target.tokenizer.decode(own.encode(text, add_special_tokens=False).ids) == text

    def test_the_cuts_differ(self) -> None:
        """Else the test above could not tell them apart."""
        vocabulary = byte_tokenizer("gpt-2")
        seen = set()
        for cut in CUTS.values():
            vocabulary.pre_tokenizer = cut
            seen.add(str([vocabulary.encode(text).ids for text in (*PROBES, "a  12", "\n\n1")]))
        assert len(seen) == len(CUTS)

    @pytest.mark.parametrize("said", [True, False, None])
    @pytest.mark.parametrize("pre", ["smollm", "llama-bpe"])
    def test_bos_is_where_the_model_was_trained_with_it(
        self, said: bool | None, pre: str, tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        model = tiny_llama(tokenizer.get_vocab_size())
        vocabulary = Vocabulary.of(tokenizer, pre, add_bos=said)
        target = load_target(str(write_gguf(tmp_path / "t.gguf", model, vocabulary)))
        wanted = pre == "llama-bpe" if said is None else said
        assert (ids_of(target.tokenizer, "a", special=True)[0] == 1) is wanted
        assert len(ids_of(target.tokenizer, "a", special=True)) == 1 + wanted

    @pytest.mark.parametrize("blank", [True, False, None])
    def test_a_sentencepiece_vocabulary_begins_as_its_file_says(
        self, blank: bool | None, tmp_path: Path
    ) -> None:
        pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *"abRome"]
        pieces += ["\u2581a", "Ro", "me", "Rome", "\u2581Rome"]
        scores = [0.0] * 259 + [-float(rank) for rank in range(len(pieces) - 259)]
        types = [2, 3, 3, *([6] * 256), *([1] * (len(pieces) - 259))]
        said = Vocabulary("llama", pieces, types, scores=scores, add_space=blank)
        target = load_target(str(write_gguf(tmp_path / "t.gguf", tiny_llama(len(pieces)), said)))
        tokens = target.tokenizer.convert_ids_to_tokens(target.tokenizer("a b")["input_ids"])
        assert tokens[0] == "<s>"
        assert tokens[1] == ("a" if blank is False else "\u2581a")
        assert (
            target.tokenizer.decode(target.tokenizer("a b")["input_ids"], skip_special_tokens=True) == "a b"
        )


class TestRefused:
    def test_a_file_that_was_cut_off(self, file: Path, cache: Path, tmp_path: Path) -> None:
        whole = file.read_bytes()
        for length in (3, 20, 200, 3_000, len(whole) // 2, len(whole) - 1):
            cut = tmp_path / "cut.gguf"
            cut.write_bytes(whole[:length])
            refused(cut, cache, tmp_path / "out", "a whole GGUF file")

    def test_a_file_of_another_kind(self, cache: Path, tmp_path: Path) -> None:
        (tmp_path / "other.gguf").write_bytes(b"PK\x03\x04 something else")
        refused(tmp_path / "other.gguf", cache, tmp_path / "out", "begins with b'PK")

    def test_an_architecture_that_cannot_be_read(
        self, tokenizer: Tokenizer, cache: Path, tmp_path: Path
    ) -> None:
        said = Vocabulary.of(tokenizer, "smollm")
        path = write_gguf(tmp_path / "a.gguf", tiny_llama(len(said.tokens)), said, architecture="rwkv6")
        refused(path, cache, tmp_path / "out", "'rwkv6'")

    @pytest.mark.parametrize("pre", ["deepseek-v3", "of-tomorrow", "default", None])
    def test_a_rule_of_cutting_that_is_not_known(
        self, pre: str | None, tokenizer: Tokenizer, cache: Path, tmp_path: Path
    ) -> None:
        said = Vocabulary.of(tokenizer, pre)
        path = write_gguf(tmp_path / "a.gguf", tiny_llama(len(said.tokens)), said)
        refused(path, cache, tmp_path / "out", "tokenizer in a.gguf .*own folder or hub id")

    def test_the_vocabulary_of_another_model(self, tokenizer: Tokenizer, cache: Path, tmp_path: Path) -> None:
        said = Vocabulary.of(tokenizer, "smollm")
        path = write_gguf(tmp_path / "a.gguf", tiny_llama(len(said.tokens) - 3), said)
        refused(path, cache, tmp_path / "out", "those of another model")

    def test_weights_that_are_missing(self, tokenizer: Tokenizer, cache: Path, tmp_path: Path) -> None:
        said = Vocabulary.of(tokenizer, "smollm")
        model = tiny_llama(len(said.tokens))
        path = write_gguf(tmp_path / "a.gguf", model, said, left_out="blk.1.ffn_up.weight")
        refused(path, cache, tmp_path / "out", "none for 1, among them model.layers.1.mlp.up_proj")

    @pytest.mark.parametrize(
        ("settings", "also", "words"),
        [
            (
                {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0},
                {},
                "rotary scaling of the type 'yarn'",
            ),
            ({"logit_scale": 0.5}, {}, "logit_scale 0.5"),
            ({"attn_logit_softcapping": 50.0}, {}, "attn_logit_softcapping 50"),
            ({}, {"rope_freqs.weight": np.array([1, 2, 3, 4], dtype=np.float32)}, "factors of its own"),
            ({}, {"rope_factors_long.weight": np.ones(4, dtype=np.float32)}, "short and long rows"),
            ({}, {"blk.0.attn_q.bias": np.ones(32, dtype=np.float32)}, "one with [0-9]+ values, where"),
        ],
    )
    def test_what_transformers_would_leave_out(
        self,
        settings: dict[str, str | float],
        also: dict[str, np.ndarray[Any, Any]],
        words: str,
        tokenizer: Tokenizer,
        cache: Path,
        tmp_path: Path,
    ) -> None:
        said = Vocabulary.of(tokenizer, "smollm")
        model = tiny_llama(len(said.tokens))
        path = write_gguf(tmp_path / "a.gguf", model, said, also=also, settings=settings)
        refused(path, cache, tmp_path / "out", f"reads in full at .*{words}")

    def test_too_little_disk(
        self, file: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda path: Disk())
        refused(file, cache, tmp_path / "out", "of free disk at .*; got 1.0 MiB")

    @pytest.mark.parametrize(
        "error", [OSError(28, "No space left on device"), SafetensorError("disk is full")]
    )
    def test_a_disk_that_fills_up(
        self, error: Exception, file: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(self: Any, folder: Path) -> None:
            (folder / "model.safetensors").write_bytes(b"a part")
            raise error

        monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full)
        refused(file, cache, tmp_path / "out", "to be able to write the model into")

    def test_a_cache_that_is_a_file(
        self, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("RAVEL_CACHE", str(tmp_path / "file"))
        with pytest.raises(SuiteError, match="name another cache with RAVEL_CACHE"):
            load_target(str(file))

    def test_without_the_package(
        self, file: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("das.models.fetching.gguf.find_spec", lambda name: None)
        refused(file, cache, tmp_path / "out", r"install ravel-bench\[gguf\]")


class Disk:
    """A disk that is nearly full."""

    total, used, free = 2**40, 2**40 - 2**20, 2**20
