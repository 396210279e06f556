"""Files in AxBench's format read and run: left out, refused, resumed, and a judge that is down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from cli_world import ravel
from concept_files import row, small, write_concepts

from das.models import FAMILIES
from das.models.miniature import miniature
from evaluation.axbench.concepts import read_concepts
from evaluation.axbench.texts import Reader, adding, steered_answers, token_states
from ravel.common.errors import SuiteError

STEERED = (
    *("--set", "factors=[1.0, 4.0]", "--set", "instructions=2", "--set", "max_new_tokens=3"),
    *("--set", "methods=[diff_mean, random]"),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("axbench") / "model"
    target = miniature(FAMILIES.get("llama"))
    target.model.save_pretrained(folder)
    target.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("axbench") / "data")


class Endpoint:
    """A server that answers as an OpenAI-compatible API does, or as it is told."""

    def __init__(self) -> None:
        self.replies: Any = "It is so. Rating: [[2]]"
        self.status = 200
        self.asked: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append({**body, "path": self.path, "key": self.headers.get("Authorization")})
                content = json.dumps({"choices": [{"message": {"content": outer.replies}}]}).encode()
                self.send_response(outer.status)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    found = Endpoint()
    thread = Thread(target=found.server.serve_forever, daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


def rows_of(done: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_concepts_are_read_and_what_cannot_be_scored_is_listed(data: Path) -> None:
    found = read_concepts(data)
    (concept,) = found.concepts
    assert (concept.name, concept.genre, len(concept.positives), len(concept.negatives)) == (
        *("zebra stripes", "text"),
        *(4, 4),
    )
    assert [text.category for text in concept.evaluation].count("hard negative") == 2
    assert found.left_out == {1: "no ordinary training text of the genre math"}


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    good, ordinary = row("a", "b", "positive"), row("a", "b", "negative", concept="EEEEE", number=-1)
    for folder, training, evaluation, drop, said in (
        ("a", [good, ordinary], [good], "category", "without category"),
        ("b", [good, ordinary], [row("a", "b", "posit")], None, "'posit'"),
        ("c", [good, ordinary], [good], None, "no negative evaluation text"),
        ("d", [good, {**ordinary, "output": None}], [good], None, "row 1"),
    ):
        with pytest.raises(SuiteError, match=said):
            read_concepts(write_concepts(tmp_path / folder, training, evaluation, drop=drop))
    with pytest.raises(SuiteError, match=r"train_data\.parquet"):
        read_concepts(tmp_path)
    (tmp_path / "train_data.parquet").write_bytes(b"PAR1")
    (tmp_path / "test.parquet").write_bytes(b"PAR1")
    with pytest.raises(SuiteError, match="a Parquet file"):
        read_concepts(tmp_path)


def test_states_are_those_of_each_text_alone_without_the_prefix(data: Path) -> None:
    target = miniature(FAMILIES.get("llama"))
    reader = Reader(target, chat=False)
    assert reader.prefix == 1
    rows = [reader.text(text) for text in read_concepts(data).concepts[0].evaluation]
    for ids, states in zip(rows, token_states(reader, 1, rows), strict=True):
        with torch.no_grad():
            alone = target.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[2]
        torch.testing.assert_close(states, alone[0, 1:], atol=1e-5, rtol=1e-4)
    with pytest.raises(SuiteError, match="chat template"):
        Reader(target, chat=True)


def test_a_chat_template_gives_prefix_and_suffix(data: Path) -> None:
    target = miniature(FAMILIES.get("llama"))
    target.tokenizer.chat_template = (
        "<bos>{% for m in messages %}[{{ m.role }}]{{ m.content }}/{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    reader = Reader(target, chat=True)
    # <bos> and the six characters of [user].
    assert reader.prefix == 7
    text = read_concepts(data).concepts[0].evaluation[0]
    assert target.tokenizer.decode(reader.text(text)) == "<bos>[user]say e/[assistant]ze"
    assert target.tokenizer.decode(reader.instruction("say e")) == "<bos>[user]say e/[assistant]"


def test_a_vector_is_added_at_every_token_of_prompt_and_answer() -> None:
    """With a vector that outweighs all else, every token comes out as it would after the vector alone."""
    target = miniature(FAMILIES.get("llama"))
    vectors = 1e4 * torch.eye(32)[[5, 9]]
    settings: dict[str, Any] = {"max_new_tokens": 4, "temperature": 0.0, "seed": 0}
    last = target.n_layers - 1
    said = steered_answers(target, adding(target, last, vectors), (1, 40, 41), len(vectors), **settings)
    with torch.no_grad():
        tokens = target.model.lm_head(target.model.model.norm(vectors)).argmax(-1).tolist()
    assert said == target.tokenizer.batch_decode([[token] * 4 for token in tokens], skip_special_tokens=True)

    def drawn(seed: int) -> list[str]:
        block, warm = adding(target, 0, vectors / 1e4), {**settings, "temperature": 1.0, "seed": seed}
        return steered_answers(target, block, (1, 40), len(vectors), **warm)

    assert drawn(0) == drawn(0) != drawn(1)


def test_detection_is_what_plain_code_finds(model: Path, data: Path, tmp_path: Path) -> None:
    words = ("axbench", data, "--model", model, "--layer", 0, "--out", tmp_path / "out", "--json", "-q")
    done = ravel(*words)
    assert done.exit_code == 0, done.output
    rows = {found["method"]: found for found in rows_of(done)}
    assert set(rows) == {"diff_mean", "pca", "lat", "random"}
    assert rows["diff_mean"]["auroc"] == pytest.approx(plain_auroc(data))
    assert (rows["lat"]["n_positive"], rows["lat"]["n_hard_negative"]) == (4, 2)
    again = ravel(*words)
    assert again.stdout == done.stdout
    other = ravel("axbench", data, "--model", model, "--layer", 1, "--out", tmp_path / "out")
    assert (other.exit_code, "one with others" in other.stderr) == (2, True)


def plain_auroc(data: Path) -> float:
    """Return the share of pairs that the difference of means, each text alone, puts the right way round."""
    target = miniature(FAMILIES.get("llama"))
    (concept,) = read_concepts(data).concepts

    def states(text: Any) -> torch.Tensor:
        ids = torch.tensor([target.tokenizer(text.asked + text.said)["input_ids"]])
        with torch.no_grad():
            found = target.model(input_ids=ids, output_hidden_states=True).hidden_states[1]
        rest: torch.Tensor = found[0, 1:]
        return rest

    positive, negative = (
        torch.cat([states(t) for t in own]).mean(0) for own in (concept.positives, concept.negatives)
    )
    direction = (positive - negative) / (positive - negative).norm()
    largest = {
        kind: [
            max(round(float(s @ direction), 3) for s in states(t))
            for t in concept.evaluation
            if t.category == kind
        ]
        for kind in ("positive", "negative")
    }
    won = [(a > b) + (a == b) / 2 for a in largest["positive"] for b in largest["negative"]]
    return sum(won) / len(won)


def test_a_rule_rates_in_its_own_column_and_a_stopped_run_goes_on(
    model: Path, data: Path, tmp_path: Path
) -> None:
    words = ("axbench", data, "--model", model, "--layer", 0, *STEERED, "--judge", "words", "--json", "-q")
    done = ravel(*words, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    steered = [found for found in rows_of(done) if "judge" in found]
    assert [(found["method"], found["n_answers"], found["judge"]) for found in steered] == [
        ("diff_mean", 4, "words"),
        ("random", 4, "words"),
    ]
    assert all(found["judged_overall"] is None and found["exact_overall"] is not None for found in steered)
    answers = tmp_path / "out" / "answers.jsonl"
    whole = answers.read_text()
    # A kill in the middle of a line.
    answers.write_text(whole[: len(whole) // 2])
    assert ravel(*words, "--out", tmp_path / "out").stdout == done.stdout
    assert answers.read_text() == whole


@pytest.mark.parametrize(("status", "reply"), [(500, "Rating: [[2]]"), (200, "I can't say"), (200, None)])
def test_a_judge_that_is_down_leaves_rows_unfinished(
    model: Path, data: Path, endpoint: Endpoint, status: int, reply: Any, tmp_path: Path
) -> None:
    endpoint.status, endpoint.replies = status, reply
    words = (
        *(
            "axbench",
            data,
            "--model",
            model,
            "--layer",
            0,
            *STEERED,
            "--out",
            tmp_path / "out",
            "--json",
            "-q",
        ),
        *("--judge", "endpoint", "--judge-url", endpoint.url, "--judge-model", "judge-1"),
    )
    done = ravel(*words)
    assert done.exit_code == 1, done.output
    assert "8 answers have no rating yet" in done.stderr
    for found in (found for found in rows_of(done) if "judge" in found):
        assert (found["n_unfinished"], found["factor"]) == (4, None)
        assert (found["judged_overall"], found["exact_overall"]) == (None, None)
    endpoint.status, endpoint.replies = 200, "Well. Rating: [[2]]"
    endpoint.asked.clear()
    finished = ravel(*words)
    assert finished.exit_code == 0, finished.output
    for found in (found for found in rows_of(finished) if "judge" in found):
        assert (found["judge"], found["judged_overall"]) == ("endpoint:judge-1", 2)
        assert found["exact_overall"] is None
    assert len(endpoint.asked) == 24
    assert {(one["path"], one["model"], one["temperature"]) for one in endpoint.asked} == {
        ("/v1/chat/completions", "judge-1", 0)
    }


def test_mistakes_are_said_before_anything_is_run(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    plain = ("axbench", data, "--model", model, "--layer", 0, "--out", tmp_path / "out")
    for words, said in (
        (("--judge", "wrods"), "words"),
        (("--judge", "endpoint"), "--judge-url"),
        (("--judge", "endpoint", "--judge-url", "localhost", "--judge-model", "m"), "http address"),
        (
            (
                "--judge",
                "endpoint",
                "--judge-url",
                "http://x",
                "--judge-model",
                "m",
                "--judge-key",
                "NO_SUCH_KEY",
            ),
            "NO_SUCH_KEY",
        ),
        (("--set", "methods=[dif_mean]"), "diff_mean"),
    ):
        done = ravel(*plain, *words)
        assert (done.exit_code, said in " ".join(done.stderr.split())) == (2, True), done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [("--layer", 0, "--chat"), ("--layer", 99)])
def test_what_does_not_fit_the_model_leaves_no_folder(
    wrong: tuple[object, ...], model: Path, data: Path, tmp_path: Path
) -> None:
    done = ravel("axbench", data, "--model", model, "--out", tmp_path / "out", *wrong)
    assert (done.exit_code, done.stderr.count("Expected")) == (2, 1)
    assert not (tmp_path / "out").exists()
