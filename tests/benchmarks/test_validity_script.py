"""The script of docs/validity.md: its numbers on hand-made examples, and that it says what is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import validity
import validity_numbers
from validity_figures import draw_all
from validity_tables import PARTS, pages

from evaluation.records.scores import Outcome
from evaluation.scoring.interchange.metrics import scores
from ravel.common.errors import SuiteError

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "validity.md"


def outcome(number: int, attribute: str, *, swapped: bool, unchanged: bool) -> Outcome:
    return Outcome(
        pair_id=str(number),
        attribute=attribute,
        base_template=f"{attribute} of %s",
        base_entity=f"base {number}",
        source_entity=f"source {number}",
        source_kind="same_attribute",
        said_swapped=swapped,
        said_unchanged=unchanged,
    )


def nothing_done(attributes: tuple[str, ...], pairs: int) -> list[Outcome]:
    """What the model says of itself: every answer stays."""
    return [
        outcome(i * pairs + n, attribute, swapped=False, unchanged=True)
        for i, attribute in enumerate(attributes)
        for n in range(pairs)
    ]


@pytest.mark.parametrize("attributes", [("A", "B"), ("A", "B", "C"), tuple("ABCDEF")])
def test_one_accuracy_of_doing_nothing_is_the_share_of_pairs_that_should_stay(
    attributes: tuple[str, ...],
) -> None:
    found = dict.fromkeys(attributes, nothing_done(attributes, 4))
    pooled = validity_numbers._pooled(found, attributes, half=False)
    assert pooled == pytest.approx(1 - 1 / len(attributes))
    assert validity_numbers._pooled(found, attributes, half=True) == pytest.approx(0.5)
    assert validity_numbers._macro(found, "none") == pytest.approx(0.5)


def test_one_accuracy_counts_pairs_alike_and_disentangle_does_not() -> None:
    # Target A: 1 of 1 pairs right; B: 1 of 3 stays. Pooled 2 of 4, disentangle (1 + 1/3) / 2.
    a = outcome(0, "A", swapped=True, unchanged=False)
    b = [outcome(1 + n, "B", swapped=False, unchanged=n == 0) for n in range(3)]
    found = {"A": [a, *b], "B": [a, *b]}
    # Target B on the same outcomes: none of 3 swapped, A did not stay.
    assert validity_numbers._pooled(found, ("A", "B"), half=False) == pytest.approx((2 / 4 + 0) / 2)
    assert scores([a, *b], "A").disentangle == pytest.approx(2 / 3)


def test_choosing_among_equals_flatters_and_a_lone_point_does_not() -> None:
    stream = np.random.default_rng(0)
    halves = stream.normal(0.5, 0.1, size=(2000, 9, 2))
    assert validity_numbers._optimism(halves, 1, stream) == pytest.approx(0, abs=0.01)
    # The largest of nine normal values lies 1.485 standard deviations above their mean.
    assert validity_numbers._optimism(halves, 9, stream) == pytest.approx(0.1485, abs=0.01)


def test_a_point_that_is_best_everywhere_is_not_flattered() -> None:
    halves = np.tile(np.array([0.2, 0.9])[None, :, None], (50, 1, 2))
    assert validity_numbers._optimism(halves, 2, np.random.default_rng(0)) == 0


def test_both_sides_of_a_dependence_are_averaged_over_the_same_attributes() -> None:
    # C is asked only where the value changes, so that it must not count there.
    outcomes = [
        outcome(0, "B", swapped=False, unchanged=True),
        outcome(1, "B", swapped=False, unchanged=True),
        outcome(2, "C", swapped=False, unchanged=False),
        outcome(3, "A", swapped=True, unchanged=False),
    ]

    def same(attribute: str, base: str, source: str) -> bool:
        return base == "base 0"

    sides = validity_numbers._sides(outcomes, "A", "A", same)  # type: ignore[arg-type]
    assert {name: (side["isolate"], side["n"]) for name, side in sides.items()} == {
        "same": (1.0, 1),
        "changes": (1.0, 1),
    }


def test_first_token_that_differs() -> None:
    assert validity_numbers._first_difference([1, 2], [1, 3]) == 1
    assert validity_numbers._first_difference([1], [1, 9]) == 1
    assert validity_numbers._first_difference([4], [5]) == 0


def test_what_is_not_measured_is_said_and_every_marker_stands_on_the_page() -> None:
    texts = pages({})
    assert all(text.startswith("*Not measured: needs `--") for text in texts.values())
    page = PAGE.read_text(encoding="utf-8")
    on_page = re.findall(r"^<!-- ([a-z-]+) -->$", page, flags=re.MULTILINE)
    assert sorted(on_page) == sorted(texts)
    assert all(page.count(f"<!-- /{name} -->") == 1 for name in on_page)


def test_figures_that_the_page_shows_are_there() -> None:
    shown = re.findall(r"\]\(figures/(validity_\w+)\.png\)", PAGE.read_text(encoding="utf-8"))
    assert shown
    assert [name for name in shown if not (ROOT / "docs" / "figures" / f"{name}.png").is_file()] == []


def test_the_page_is_what_the_kept_numbers_say(tmp_path: Path) -> None:
    kept = json.loads((ROOT / "docs" / "figures" / "validity.json").read_text(encoding="utf-8"))
    assert kept.keys() - {"schema_version"} <= PARTS.keys()
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name, text in pages(kept).items() if text.strip() not in page] == []
    assert draw_all({"layers": kept["layers"]}, tmp_path)


def test_parts_without_a_source_are_kept_and_accounted_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = tmp_path / "numbers.json"
    numbers.write_text(json.dumps({"schema_version": 1, "source": _source()}), encoding="utf-8")
    coverage = ["--coverage", str(ROOT / "docs" / "figures" / "coverage.json")]
    validity.main([*coverage, "--json", str(numbers)])
    said = capsys.readouterr()
    assert "source: kept from the file of --json" in said.err
    assert "coverage: new" in said.err
    assert "planted: missing, needs --planted" in said.err
    assert "instance `abc`" in said.out
    assert json.loads(numbers.read_text(encoding="utf-8"))["source"] == _source()


def _source() -> dict[str, Any]:
    return {"instance": "abc", "entity_type": "city", "model": "bundled", "test_pairs": 3}


@pytest.mark.parametrize("flag", ["--run", "--planted", "--controls", "--diagnosed", "--release"])
def test_a_folder_that_is_not_there_is_named(flag: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"behind {flag}"):
        validity.main([flag, str(tmp_path / "absent")])


def test_numbers_of_another_version_are_refused() -> None:
    with pytest.raises(SuiteError, match="schema version 1"):
        validity.merged({"schema_version": 2}, {})
