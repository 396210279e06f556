"""`ravel train-sae`: texts are read, an autoencoder is kept that methods can read, mistakes are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from das.dictionary_training import gathered
from das.methods.dictionaries._pretrained_sae import latents_of_pretrained
from evaluation.cli import app
from evaluation.tuning.sae_texts import hash_of_documents, read_documents
from ravel.common.errors import SuiteError

QUICK = ["--expansion", "1", "--tokens", "200", "--set", "row_tokens=8", "--set", "held_out_tokens=100"]
# The bundled model knows one kind of text, and at a third of the tokens of any other its states are huge.
QUICK += [
    "--set",
    "norm_factor=1000000",
    "--set",
    "recovered_tokens=16",
    "--set",
    "batch_size=32",
    "--k",
    "4",
]


def _text(folder: Path) -> Path:
    path = folder / "text.jsonl"
    lines = [f"The city of Paris lies in France, and number {n} of its towers is old." for n in range(60)]
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return path


def _said(arguments: list[str], code: int) -> str:
    result = CliRunner().invoke(app, ["train-sae", *arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_an_autoencoder_of_the_bundled_model(tmp_path: Path) -> None:
    out = tmp_path / "sae"
    where = [str(_text(tmp_path)), "--site", "block_output.2", "--out", str(out)]
    said = json.loads(CliRunner().invoke(app, ["train-sae", *where, *QUICK, "--json"]).stdout)
    kept = json.loads((out / "training.json").read_text())
    assert {key: said[key] for key in kept} == kept
    assert 190 < kept["states"] <= 200
    assert (kept["held_out"], kept["site"], kept["documents"]) == (100, "block_output.2", 60)
    assert kept["l0"] == 4.0
    assert latents_of_pretrained(f"lens:{out}") == kept["latents"]
    assert kept["text_sha256"] == hash_of_documents(read_documents([_text(tmp_path)]))
    assert "taken" in _said([*where, *QUICK], 2) or "files in it" in _said([*where, *QUICK], 2)


def test_a_second_architecture_takes_the_states_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "states"
    where = [str(_text(tmp_path)), "--site", "block_output.2", "--states", str(kept), *QUICK]
    first, second = tmp_path / "top_k", tmp_path / "jump_relu"
    _said([*where, "--out", str(first)], 0)
    assert list(kept.glob("*.safetensors"))
    monkeypatch.setattr(gathered, "gather_states", lambda *_, **__: pytest.fail("gathered again"))
    _said([*where, "--out", str(second), "--architecture", "jump_relu"], 0)
    found = [json.loads((folder / "training.json").read_text()) for folder in (first, second)]
    assert [one["architecture"] for one in found] == ["top_k", "jump_relu"]
    assert found[0]["states"] == found[1]["states"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jump_relu", "states", "text.jsonl", "top_k"]


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("block_output.99", "a layer from 0 to"),
        ("head_output.1.0", "a stream that sae-lens has a name for"),
        ("block_output", "a site of the form"),
    ],
)
def test_places_that_do_not_do(tmp_path: Path, site: str, expected: str) -> None:
    said = _said([str(_text(tmp_path)), "--site", site, "--out", str(tmp_path / "sae"), *QUICK], 2)
    assert expected in said
    assert not (tmp_path / "sae").exists()


def test_too_little_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("Paris.")
    where = ["--site", "block_output.2", "--out", str(tmp_path / "sae")]
    assert "a text that fills a row" in _said([str(path), *where], 2)
    path.write_text(" \n")
    assert "running text to train on" in _said([str(path), *where], 2)


def test_plain_text_is_cut_at_empty_lines_and_lines_need_a_text(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(letter * 1500 for letter in "abc"))
    assert read_documents([path]) == ["a" * 1500 + "\n\n" + "b" * 1500, "c" * 1500]
    lines = tmp_path / "text.jsonl"
    lines.write_text('{"text": "one"}\n{"words": 2}\n')
    with pytest.raises(SuiteError, match="line 2"):
        read_documents([lines])
