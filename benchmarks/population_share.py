"""How truly shares of text are recovered, how often intervals hold them, and what a million sentences cost.

    python benchmarks/population_share.py [--quick] [--json PATH] [--doc PAGE] [--plot PATH]

Two worlds of invented words. In the first every word and every sentence is drawn by itself, as the model has
it; in the second a document is of one kind and one topic, so that words and sentences depend on each other.
Word models are learnt
from files, and mixtures are drawn anew for each share. The last table is of `ravel share` in a process of its
own, on files of a million sentences together. One thread.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import environment, markdown_table, put_between_markers

from evaluation.report.plots.canvas import drawing, new_figure, saved
from evaluation.scoring.population.estimate import estimate_share
from evaluation.scoring.population.occurrence import Occurrences, VocabularyConfig, word_models
from ravel.common.io import write_json
from ravel.common.seeds import numpy_stream

SHARES = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
N_WORDS, N_TOPICS = 100, 5
LEARNT, DOCUMENT = 20_000, 10
_BY = ("by likelihood", "by sentences", "by documents")
WORLDS = {"sentences by themselves": 0.0, "documents with topics": 0.5}
"""Standard deviation of a topic's log rates; where it is 0 sentences are of a kind each, else documents."""


@dataclass(frozen=True)
class World:
    """Rates of words, p ~ U(.02, .3) and q = p exp(.6 N(0, 1)), in each topic."""

    rates: np.ndarray
    """[2 kinds, n_topics, n_words]."""

    @classmethod
    def of(cls, spread: float) -> World:
        """Return the world whose topics differ by so much."""
        stream = numpy_stream(0, "population share", "rates")
        p = stream.uniform(0.02, 0.3, N_WORDS)
        q = p * np.exp(0.6 * stream.standard_normal(N_WORDS))
        topics = np.exp(spread * stream.standard_normal((N_TOPICS, N_WORDS)))
        return cls(np.minimum(np.stack([p, q])[:, None] * topics, 0.95))

    def drawn(self, share: float, n: int, spread: float, stream: np.random.Generator) -> np.ndarray:
        """Return which words are in each of `n` sentences, bool [n, n_words]."""
        each = DOCUMENT if spread else 1
        kinds = np.repeat((stream.random(n // each) < share).astype(int), each)
        topics = np.repeat(stream.integers(N_TOPICS, size=n // each), each)
        return stream.random((n, N_WORDS)) < self.rates[kinds, topics]


def recovery(spread: float, repeats: int, sentences: int) -> list[dict[str, Any]]:
    """Return mean error, largest error and coverage of each true share."""
    world, stream = World.of(spread), numpy_stream(0, "population share", "draws")
    seen = []
    for kind in (0, 1):
        there = world.drawn(kind, LEARNT, spread, stream)
        seen.append(Occurrences(there.sum(axis=0), len(there)))
    models = word_models(*seen, VocabularyConfig())
    documents = np.repeat(np.arange(sentences // DOCUMENT), DOCUMENT)
    rows = []
    for share in SHARES:
        shares, held = [], {"likelihood": 0, "by_sentence": 0, "by_document": 0}
        for repeat in range(repeats):
            ratios = world.drawn(share, sentences, spread, stream) @ models.weights + models.constant
            found = estimate_share(ratios, documents, resamples=200, seed=repeat)
            shares.append(found.share)
            for name in held:
                low, high = getattr(found, name)
                held[name] += low <= share <= high
        errors = np.array(shares) - share
        rows.append(
            {
                "share": share,
                "mean": float(np.mean(shares)),
                "error": float(errors.mean()),
                "largest": float(np.abs(errors).max()),
                "estimates": [float(value) for value in shares],
                **{name: count / repeats for name, count in held.items()},
            }
        )
    return rows


def write_corpora(folder: Path, sentences: int) -> list[Path]:
    """Write three files of so many sentences together, of a vocabulary as uneven as a language's."""
    stream = numpy_stream(0, "population share", "files")
    words = np.array([f"word{i}" for i in range(20_000)])
    chances = 1 / np.arange(1, len(words) + 1)
    other = chances * np.exp(0.5 * stream.standard_normal(len(words)))
    paths = []
    for name, share, part in (("reference", 0.0, 0.25), ("other", 1.0, 0.25), ("mixed", 0.2, 0.5)):
        path = folder / f"{name}.txt"
        with path.open("w", encoding="utf-8") as file:
            for _ in range(int(sentences * part) // 1000):
                is_other = stream.random(1000) < share
                drawn = [stream.choice(len(words), (1000, 20), p=c / c.sum()) for c in (chances, other)]
                chosen = words[np.where(is_other[:, None], drawn[1], drawn[0])]
                lines = [" ".join(row) + ("\n" if i % DOCUMENT == 9 else "") for i, row in enumerate(chosen)]
                file.write("\n".join(lines) + "\n")
        paths.append(path)
    return paths


def speed(sentences: int) -> dict[str, Any]:
    """Return seconds and peak memory of the command on so many sentences."""
    with tempfile.TemporaryDirectory() as name:
        paths = write_corpora(Path(name), sentences)
        code = "from evaluation.cli import main; main()"
        command = [sys.executable, "-c", code, "share", *map(str, paths), "--out", f"{name}/out", "--json"]
        start = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    found = json.loads(done.stdout)["estimate"]
    return {"sentences": sentences, "seconds": seconds, "peak_bytes": peak, "share": found["share"]}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few mixtures: to see that it runs")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--doc", type=Path, help="put the tables into this page")
    parser.add_argument("--plot", type=Path, help="draw recovered against true shares there")
    asked = parser.parse_args(argv)
    repeats, sentences = (5, 20_000) if asked.quick else (100, 1_000_000)
    found: dict[str, Any] = {"environment": environment("cpu"), "speed": speed(sentences)}
    for name, spread in WORLDS.items():
        found[name] = recovery(spread, repeats, 2000)
    tables = {f"share-{name.split()[0]}": recovery_table(found[name]) for name in WORLDS}
    tables["share-speed"] = speed_table(found["speed"])
    for table in tables.values():
        print(table)
    if asked.plot is not None:
        draw({name: found[name] for name in WORLDS}, asked.plot.with_suffix(""))
    if asked.json is not None:
        for name in WORLDS:
            found[name] = [{k: v for k, v in row.items() if k != "estimates"} for row in found[name]]
        write_json(asked.json, found)
    if asked.doc is not None:
        put_between_markers(asked.doc, tables)


def recovery_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of a world."""
    held = ("likelihood", "by_sentence", "by_document")
    cells = [
        [
            f"{row['share']:.2f}",
            f"{row['mean']:.4f}",
            f"{row['error']:+.4f}",
            f"{row['largest']:.3f}",
            *(f"{row[name]:.0%}" for name in held),
        ]
        for row in rows
    ]
    header = ("true share", "mean", "mean error", "largest error", *(f"held {by}" for by in _BY))
    return markdown_table(header, cells)


def speed_table(row: dict[str, Any]) -> str:
    """Return the table of the command's cost."""
    cells = [
        [
            f"{row['sentences']:,}",
            f"{row['seconds']:.0f} s",
            f"{row['peak_bytes'] / 2**30:.2f} GiB",
            f"{row['share']:.4f}",
        ]
    ]
    return markdown_table(("sentences of three files", "time", "peak memory", "share (true: 0.2)"), cells)


def draw(worlds: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw the errors of all mixtures against the true share, a panel per world."""
    with drawing():
        figure = new_figure(3.4 * len(worlds), 2.8)
        panels = figure.subplots(1, len(worlds), sharey=True)
        for panel, (name, rows) in zip(panels, worlds.items(), strict=True):
            errors = [np.array(row["estimates"]) - row["share"] for row in rows]
            panel.axhline(0, color="grey", linewidth=0.8)
            panel.boxplot(errors, tick_labels=[f"{row['share']:.2f}" for row in rows], widths=0.5)
            panel.set_title(name)
            panel.set_xlabel("true share")
        panels[0].set_ylabel("estimate less truth")
        saved(figure, path)


if __name__ == "__main__":
    main()
