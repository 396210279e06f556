"""From three files to a share: what is written, what is doubted, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_world import ravel

from evaluation.report.share import ShareConfig, ShareRequest, population_share
from ravel.common.errors import SuiteError
from ravel.common.progress import Counted, Event

QUICK = ShareConfig(resamples=50, mixtures=6, mixture_sentences=400)


def _write(path: Path, share: float, n: int, *, seed: int, words: str = "w", documents: bool = True) -> Path:
    """Sentences of 60 words, of which the first half is commoner in the other kind, the rest in the first."""
    stream = np.random.default_rng(seed)
    rates = np.array([np.linspace(0.3, 0.05, 60), np.linspace(0.05, 0.3, 60)])
    lines = []
    for i in range(n):
        there = stream.random(60) < rates[int(stream.random() < share)]
        lines.append(" ".join(f"{words}{word}" for word in np.flatnonzero(there)))
        if documents and i % 20 == 19:
            lines.append("")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("corpora")
    return (
        _write(folder / "reference.txt", 0.0, 600, seed=0),
        _write(folder / "other.txt", 1.0, 600, seed=1),
        _write(folder / "mixed.txt", 0.3, 800, seed=2),
    )


def test_a_share_has_its_intervals_its_bias_and_its_files(
    corpora: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    events: list[Event] = []
    out = tmp_path / "out"
    result = population_share(ShareRequest(*corpora, config=QUICK), out, events.append)
    found = result.estimate
    assert found is not None
    assert found.share == pytest.approx(0.3, abs=0.06)
    assert (found.n_sentences, found.n_documents, result.n_words) == (800, 40, 60)
    for interval in (found.by_sentence, found.by_document, found.likelihood):
        assert interval is not None
        assert interval[0] < 0.3 < interval[1]
    assert result.bias is not None
    assert abs(result.bias) < 0.05
    assert [one.true for one in result.recovered][:2] == [0.0, 0.025]
    assert json.loads((out / "share.json").read_text()) == result.to_json()
    assert {path.name for path in out.iterdir()} == {
        "share.json",
        "share.png",
        "share.svg",
        "share.pdf",
    }
    assert {event.stage for event in events if isinstance(event, Counted)} == {"held-out mixtures"}
    again = population_share(ShareRequest(*corpora, config=QUICK))
    assert again.to_json() == {**result.to_json(), "files": []}


def test_known_shares_are_recovered_without_a_third_corpus(corpora: tuple[Path, Path, Path]) -> None:
    result = population_share(ShareRequest(*corpora[:2], validate=True, config=QUICK))
    assert result.estimate is None
    assert [one.true for one in result.recovered] == pytest.approx([step / 40 for step in range(11)])
    assert all(abs(one.bias) < 0.05 for one in result.recovered)


def test_kinds_whose_words_agree_identify_no_share(tmp_path: Path) -> None:
    paths = [_write(tmp_path / f"{seed}.txt", 0.5, 500, seed=seed) for seed in (3, 4, 5)]
    result = population_share(ShareRequest(*paths, config=QUICK))
    assert result.estimate is not None
    assert result.estimate.share is None
    assert result.bias is None
    assert result.reason is not None
    assert "do not tell both kinds apart" in result.reason


def test_only_named_words_count(corpora: tuple[Path, Path, Path], tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("w0\nw1\nw59\nnowhere\n")
    result = population_share(ShareRequest(*corpora, words=words, config=QUICK))
    assert result.n_words == 3


def test_vocabularies_that_do_not_meet_are_refused(tmp_path: Path) -> None:
    one = _write(tmp_path / "one.txt", 0.0, 100, seed=0)
    other = _write(tmp_path / "other.txt", 0.0, 100, seed=1, words="v")
    with pytest.raises(SuiteError, match="vocabularies of 100 and 100 sentences do not meet"):
        population_share(ShareRequest(one, other, one, config=QUICK))


# --- the command


def test_the_command_says_share_intervals_and_bias(corpora: tuple[Path, Path, Path], tmp_path: Path) -> None:
    few = ("--resamples", 50, "--mixtures", 4)
    done = ravel("share", *corpora, "--out", tmp_path / "out", *few)
    assert done.exit_code == 0, done.output
    for words in (
        "Share of the other kind: 0.",
        "95 % by documents",
        "bias of held-out mixtures",
        "share.png",
    ):
        assert words in done.stdout
    done = ravel("share", *corpora[:2], "--validate", *few, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["recovered"][-1]["true"] == 0.25


def test_the_command_says_what_it_can_not_tell(tmp_path: Path) -> None:
    paths = [_write(tmp_path / f"{seed}.txt", 0.5, 300, seed=seed) for seed in (3, 4, 5)]
    done = ravel("share", *paths, "--resamples", 20, "--mixtures", 4)
    assert done.exit_code == 0, done.output
    assert "No share is identifiable" in done.stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "0 of them"), ("one sentence only\n", "1 of them"), (None, "nothing there")],
    ids=["empty", "one sentence", "absent"],
)
def test_a_bad_corpus_is_one_paragraph(
    content: str | None, words: str, corpora: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "mixed.txt"
    if content is not None:
        path.write_text(content)
    done = ravel("share", *corpora[:2], path, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_two_corpora_alone_are_for_validation(corpora: tuple[Path, Path, Path]) -> None:
    done = ravel("share", *corpora[:2])
    assert done.exit_code == 2
    assert "--validate" in done.stderr
