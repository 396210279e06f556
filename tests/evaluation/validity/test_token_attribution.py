"""Token scores through the command line: of one prompt, over an instance, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_world import World, ravel

from das.attribution.scores import SCORE_NAMES
from das.engine.base.batch import Encoded
from evaluation.scoring.resampled import mean_intervals
from evaluation.validity.tokens.prompt import entity_places, front_of


def test_places_of_a_name_and_of_what_stands_in_front() -> None:
    encoded = Encoded(ids=(1, 5, 6, 7, 8), offsets=((0, 0), (0, 2), (2, 5), (5, 8), (8, 9)))
    assert front_of(encoded) == 1
    assert entity_places(encoded, (3, 7)) == (2, 3)
    assert front_of(Encoded(ids=(1, 5), offsets=((0, 5), (5, 6)), own_start=1)) == 1


def test_clusters_are_drawn_again_whole() -> None:
    values = np.array([[0.0], [0.0], [1.0], [1.0]])
    (apart,) = mean_intervals(values, ["a", "b", "c", "d"], resamples=4000, seed=0)
    (whole,) = mean_intervals(values, ["a", "a", "b", "b"], resamples=4000, seed=0)
    # Of two clusters either may come twice; of four cases none do so once in 16.
    assert whole == (0.0, 1.0)
    assert apart == (0.0, 1.0)
    (even,) = mean_intervals(values, ["a", "b", "a", "b"], resamples=4000, seed=0)
    assert even == (0.5, 0.5)
    assert mean_intervals(values, ["a"] * 4, resamples=10, seed=0) == [None]


def test_one_prompt_has_a_page_a_figure_and_scores(world: World, tmp_path: Path) -> None:
    words = ("attribute", "by Bal: and", "--model", world.model, "--entity", "Bal", "--steps", 4)
    done = ravel(*words, "--answer", "x", "--out", tmp_path / "one", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert set(found["scores"]) == set(SCORE_NAMES)
    assert {len(scores) for scores in found["scores"].values()} == {len(found["tokens"])}
    first, last = found["entity"]
    assert "".join(found["tokens"][first : last + 1]).strip() == "Bal"
    page = (tmp_path / "one" / "prompt.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert page.count('class="token named"') == (last - first + 1) * len(SCORE_NAMES)
    assert (tmp_path / "one" / "prompt.png").stat().st_size > 1000
    assert json.loads((tmp_path / "one" / "attribution.json").read_text())["scores"] == found["scores"]


def test_an_instance_has_a_row_for_each_way(world: World, tmp_path: Path) -> None:
    words = ("attribute", "--instance", world.instance, "--prompts", 8, "--steps", 2)
    done = ravel(*words, "--out", tmp_path / "all", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [way["name"] for way in found["ways"]] == list(SCORE_NAMES)
    assert 0 < found["n_prompts"] <= 8
    assert found["n_facts"] <= found["n_prompts"]
    for way in found["ways"]:
        # With everything masked a prompt loses the same whatever the order.
        assert way["curve"][-1] == pytest.approx(found["ways"][0]["curve"][-1])
        assert len(way["curve"]) == len(way["curve_intervals"])
    assert len(found["edges"]) == 3 * 2 * 4
    site_layer = 3 // 2
    layers = [row["layer"] for row in found["carriers"]]
    assert layers == (list(range(site_layer, 3)) if found["n_facts"] else [])
    for row in found["carriers"]:
        assert min(row["entropy_before"], row["entropy_after"]) >= 0
        assert min(row["share_before"], row["share_after"]) >= 0
        assert max(row["share_before"], row["share_after"]) <= 1
    for name in ("prompt", "faithfulness", "edges"):
        assert (tmp_path / "all" / f"{name}.png").is_file()
    again = ravel(*words)
    assert again.exit_code == 0, again.output
    assert "comprehensiveness" in again.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "a prompt, or --instance"),
        (("by Bal:", "--entity", "Dun"), "an entity that stands in the prompt"),
        (("by Bal:", "--answer", " "), "an answer of at least one token"),
        (("",), "at least one token"),
        (("--split", "context"), "context"),
        (("--site", "block_output.99@entity_last"), "layer"),
    ],
)
def test_mistakes_are_one_paragraph(words: tuple[str, ...], says: str, world: World) -> None:
    of_instance = words[:1] in (("--split",), ("--site",))
    where = ("--instance", world.instance) if of_instance else ("--model", world.model)
    done = ravel("attribute", *words, *where)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())
