"""The metric against a log worked by hand, and its parts against other people's implementations."""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score
from sklearn.preprocessing import OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier

from das.featurizers import Activation, Dictionary, MaskedBasis, Subspace, retract
from das.featurizers.geometry import overlap, principal_cosines
from evaluation.records.scores import Outcome
from evaluation.scoring.interchange.balanced import balanced_cause, balanced_isolate_from, balanced_scores
from evaluation.scoring.interchange.metrics import Rounding, cause, isolate_from, scores, template_accuracies
from evaluation.scoring.intervals import holm
from ravel.checking.dependence import dependences
from ravel.common.io import write_jsonl

EXACT = 1e-12
SINGLE = 1e-6
"""Featurizers keep their columns in float32; SciPy makes them orthonormal anew."""


@dataclass(frozen=True)
class Line:
    """The pairs of one template, counted."""

    attribute: str
    template: str
    pairs: int
    swapped: int
    unchanged: int


# Shares of `swapped` and `unchanged` with what Python's round(x, 2) makes of them, as the reference rounds.
# Eighths are exact in binary, so a half goes to the even digit. Fortieths are not: the nearest double lies a
# little above or below the half and decides.
LOG = (
    Line("Country", "T1", 3, 1, 2),  # 1/3 -> .33; 2/3 -> .67
    Line("Country", "T2", 8, 1, 7),  # .125 -> .12, to even; .875 -> .88, to even
    Line("Country", "T3", 8, 3, 5),  # .375 -> .38, to even; .625 -> .62, to even
    Line("Country", "T4", 40, 1, 39),  # .025 lies above -> .03; .975 lies below -> .97
    Line("Country", "T5", 40, 3, 23),  # .075 lies below -> .07; .575 lies below -> .57
    Line("Continent", "U1", 6, 5, 1),  # 5/6 -> .83; 1/6 -> .17
    Line("Continent", "U2", 8, 5, 2),  # .625 -> .62, to even; .25
    Line("Continent", "U3", 1, 0, 0),  # 0; 0
    Line("Language", "V1", 7, 2, 4),  # 2/7 -> .29; 4/7 -> .57
    Line("Language", "V2", 9, 9, 0),  # 1; 0
)
ROUNDED = {
    "T1": ("0.33", "0.67"),
    "T2": ("0.12", "0.88"),
    "T3": ("0.38", "0.62"),
    "T4": ("0.03", "0.97"),
    "T5": ("0.07", "0.57"),
    "U1": ("0.83", "0.17"),
    "U2": ("0.62", "0.25"),
    "U3": ("0.0", "0.0"),
    "V1": ("0.29", "0.57"),
    "V2": ("1.0", "0.0"),
}

# Means over templates, first of `swapped`, then of `unchanged`, rounded shares first:
#   Country    (33 + 12 + 38 + 3 + 7) / 500 = 93/500     (67 + 88 + 62 + 97 + 57) / 500 = 371/500
#   Continent  (83 + 62 + 0) / 300 = 29/60               (17 + 25 + 0) / 300 = 7/50
#   Language   (29 + 100) / 200 = 129/200                (57 + 0) / 200 = 57/200
# and of shares as they are:
#   Country    (1/3 + 4/8 + 4/40) / 5 = 14/75            (2/3 + 12/8 + 62/40) / 5 = 223/300
#   Continent  (5/6 + 5/8) / 3 = 35/72                   (1/6 + 2/8) / 3 = 5/36
#   Language   (2/7 + 1) / 2 = 9/14                      (4/7 + 0) / 2 = 2/7
# Isolate of one is the mean of `unchanged` of the two others; disentangle is the mean of cause and isolate.
BY_HAND: dict[tuple[Rounding, str], tuple[Fraction, Fraction, Fraction]] = {
    ("reference", "Country"): (Fraction(93, 500), Fraction(17, 80), Fraction(797, 4000)),
    ("reference", "Continent"): (Fraction(29, 60), Fraction(1027, 2000), Fraction(5981, 12000)),
    ("reference", "Language"): (Fraction(129, 200), Fraction(441, 1000), Fraction(543, 1000)),
    ("none", "Country"): (Fraction(14, 75), Fraction(107, 504), Fraction(5027, 25200)),
    ("none", "Continent"): (Fraction(35, 72), Fraction(2161, 4200), Fraction(788, 1575)),
    ("none", "Language"): (Fraction(9, 14), Fraction(397, 900), Fraction(6829, 12600)),
}
PAIRS = {"Country": 99, "Continent": 15, "Language": 16}


def outcomes_of(lines: Sequence[Line]) -> list[Outcome]:
    """Write the counted pairs out, one outcome each."""
    return [
        Outcome(
            pair_id=f"{line.template}-{index}",
            attribute=line.attribute,
            base_template=line.template,
            base_entity=f"e{index}",
            source_entity=f"e{index + 1}",
            source_kind="same_attribute",
            said_swapped=index < line.swapped,
            said_unchanged=line.swapped <= index < line.swapped + line.unchanged,
        )
        for line in lines
        for index in range(line.pairs)
    ]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """The log as a file that is read back, as scores of a run are."""
    path = tmp_path_factory.mktemp("log") / "context_test.jsonl"
    write_jsonl(path, (outcome.to_json() for outcome in outcomes_of(LOG)))
    return Outcome.read(path)


@pytest.mark.parametrize(("rounding", "attribute"), BY_HAND)
def test_scores_are_those_worked_by_hand(log: list[Outcome], rounding: Rounding, attribute: str) -> None:
    found = scores(log, attribute, rounding=rounding)
    for value, wanted in zip(
        (found.cause, found.isolate, found.disentangle), BY_HAND[rounding, attribute], strict=True
    ):
        assert value == pytest.approx(float(wanted), abs=EXACT, rel=0)
    assert found.n_cause == PAIRS[attribute]
    assert found.n_isolate == sum(PAIRS.values()) - PAIRS[attribute]


@pytest.mark.parametrize("place", [0, 1], ids=["swapped", "unchanged"])
def test_each_template_is_rounded_as_the_reference_does(log: list[Outcome], place: int) -> None:
    answer = ("swapped", "unchanged")[place]
    for attribute in PAIRS:
        found = template_accuracies(log, attribute, answer, rounding="reference")  # type: ignore[arg-type]
        assert {name: str(m.value) for name, m in found.items()} == {
            line.template: ROUNDED[line.template][place] for line in LOG if line.attribute == attribute
        }


def test_the_hand_work_itself_adds_up() -> None:
    """Fractions in place of floats, from the rounded shares as they are written above."""
    for rounding in ("reference", "none"):
        means = [
            {name: _mean(_shares(name, place, exact=rounding == "none")) for name in PAIRS}
            for place in (0, 1)
        ]
        for name in PAIRS:
            kept = _mean([means[1][other] for other in PAIRS if other != name])
            wanted = (means[0][name], kept, (means[0][name] + kept) / 2)
            assert BY_HAND[rounding, name] == wanted  # type: ignore[index]


def _shares(attribute: str, place: int, *, exact: bool) -> list[Fraction]:
    lines = [line for line in LOG if line.attribute == attribute]
    if exact:
        return [Fraction((line.swapped, line.unchanged)[place], line.pairs) for line in lines]
    return [Fraction(ROUNDED[line.template][place]) for line in lines]


def _mean(values: Sequence[Fraction]) -> Fraction:
    return sum(values, Fraction(0)) / len(values)


@st.composite
def logs(draw: st.DrawFn) -> list[Outcome]:
    """Draw logs of three attributes, each with at least one pair."""
    lines = []
    for attribute in ("A", "B", "C"):
        for index in range(draw(st.integers(1, 3))):
            pairs = draw(st.integers(1, 12))
            swapped = draw(st.integers(0, pairs))
            unchanged = draw(st.integers(0, pairs - swapped))
            lines.append(Line(attribute, f"{attribute}{index}", pairs, swapped, unchanged))
    return outcomes_of(lines)


@given(logs(), st.sampled_from(["none", "reference"]))
@settings(max_examples=40, deadline=None)
def test_a_table_of_pandas_gives_the_same_scores(outcomes: list[Outcome], rounding: Rounding) -> None:
    table = pd.DataFrame([outcome.to_json() for outcome in outcomes])
    shares = table.groupby(["attribute", "base_template"])[["said_swapped", "said_unchanged"]].mean()
    if rounding == "reference":
        shares = shares.map(lambda share: round(float(share), 2))
    means = shares.groupby("attribute").mean()
    for attribute in ("A", "B", "C"):
        found = scores(outcomes, attribute, rounding=rounding)
        kept = means["said_unchanged"].drop(attribute).mean()
        assert found.cause == pytest.approx(means["said_swapped"][attribute], abs=EXACT)
        assert found.isolate == pytest.approx(kept, abs=EXACT)
        assert found.disentangle == pytest.approx((means["said_swapped"][attribute] + kept) / 2, abs=EXACT)


def said(outcome: Outcome) -> str:
    """Return the answer as a class of a classifier."""
    return "swapped" if outcome.said_swapped else "unchanged" if outcome.said_unchanged else "neither"


@given(logs())
@settings(max_examples=40, deadline=None)
def test_a_templates_share_is_the_accuracy_of_scikit_learn(outcomes: list[Outcome]) -> None:
    for attribute in ("A", "B", "C"):
        accuracies = {"swapped": [], "unchanged": []}  # type: dict[str, list[float]]
        for answer in ("swapped", "unchanged"):
            found = template_accuracies(outcomes, attribute, answer)  # type: ignore[arg-type]
            for template, measure in found.items():
                answers = [said(outcome) for outcome in outcomes if outcome.base_template == template]
                accuracy = accuracy_score([answer] * len(answers), answers)
                assert measure.value == pytest.approx(accuracy, abs=EXACT)
                accuracies[answer].append(accuracy)
        assert cause(outcomes, attribute).value == pytest.approx(np.mean(accuracies["swapped"]), abs=EXACT)
        kept = isolate_from(outcomes, attribute).value
        assert kept == pytest.approx(np.mean(accuracies["unchanged"]), abs=EXACT)


classes = st.sampled_from(["france", "japan", "peru"])


@given(logs(), st.data())
@settings(max_examples=40, deadline=None)
def test_balanced_scores_are_the_balanced_accuracy_and_macro_recall_of_scikit_learn(
    outcomes: list[Outcome], data: st.DataObject
) -> None:
    labels = {outcome.pair_id: data.draw(st.tuples(classes, classes)) for outcome in outcomes}
    kept = {}
    for attribute in ("A", "B", "C"):
        means = []
        for place, answer in enumerate(("swapped", "unchanged")):
            accuracies = [
                _balanced_accuracy(own, [labels[outcome.pair_id][place] for outcome in own], answer)
                for own in _by_template(outcomes, attribute)
            ]
            means.append(float(np.mean(accuracies)))
        kept[attribute] = means[1]
        assert balanced_cause(outcomes, attribute, labels).value == pytest.approx(means[0], abs=EXACT)
        assert balanced_isolate_from(outcomes, attribute, labels).value == pytest.approx(means[1], abs=EXACT)
    wanted = (kept["B"] + kept["C"]) / 2
    assert balanced_scores(outcomes, "A", labels).isolate == pytest.approx(wanted, abs=EXACT)


def _by_template(outcomes: Sequence[Outcome], attribute: str) -> Iterator[list[Outcome]]:
    own = [outcome for outcome in outcomes if outcome.attribute == attribute]
    for template in sorted({outcome.base_template for outcome in own}):
        yield [outcome for outcome in own if outcome.base_template == template]


def _balanced_accuracy(outcomes: Sequence[Outcome], expected: Sequence[str], answer: str) -> float:
    """Score as a classifier that says the expected class where the outcome is `answer`, and else none of
    them."""
    given_ = [
        name if said(outcome) == answer else "" for outcome, name in zip(outcomes, expected, strict=True)
    ]
    with warnings.catch_warnings():
        # Saying a class that is never expected is what a wrong answer is here.
        warnings.simplefilter("ignore", UserWarning)
        balanced = float(balanced_accuracy_score(expected, given_))
    recall = recall_score(expected, given_, labels=sorted(set(expected)), average="macro")
    assert balanced == pytest.approx(recall, abs=EXACT)
    return balanced


columns = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz")), min_size=2, max_size=30)


@given(columns)
@settings(max_examples=40, deadline=None)
def test_dependence_is_what_a_tree_and_a_constant_guess_reach(rows: list[tuple[str, str]]) -> None:
    values = {
        name: {f"e{index}": row[place] for index, row in enumerate(rows)}
        for place, name in enumerate(("Given", "Told"))
    }
    (found,) = [d for d in dependences(values, "facts") if (d.given, d.told) == ("Given", "Told")]
    given_, told = np.array(rows)[:, :1], np.array(rows)[:, 1]
    codes = OrdinalEncoder().fit_transform(given_)
    tree, guess = DecisionTreeClassifier(), DummyClassifier(strategy="most_frequent")
    assert found.share == pytest.approx(tree.fit(codes, told).score(codes, told), abs=EXACT)
    assert found.majority == pytest.approx(guess.fit(codes, told).score(codes, told), abs=EXACT)


def test_holm_by_hand() -> None:
    # Sorted: .005 x 4 = .02; .01 x 3 = .03; .03 x 2 = .06; .04 x 1 = .04, but not below .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], abs=EXACT)
    assert holm([None, 0.5, None, 0.9]) == [None, 1.0, None, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
@settings(max_examples=40, deadline=None)
def test_holm_is_the_closed_test_of_bonferroni(p_values: list[float]) -> None:
    """A hypothesis falls if every set of hypotheses that holds it falls by Bonferroni."""
    places = range(len(p_values))
    sets = [chosen for size in places for chosen in combinations(places, size + 1)]
    local = {chosen: min(1.0, len(chosen) * min(p_values[i] for i in chosen)) for chosen in sets}
    wanted = [max(p for chosen, p in local.items() if place in chosen) for place in places]
    assert holm(p_values) == pytest.approx(wanted, abs=EXACT)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    with pytest.MonkeyPatch.context() as patch:
        # It collects garbage at each call, which takes seconds late in a session.
        patch.setattr(gc, "collect", lambda: 0)
        wanted = multitest.multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(wanted.tolist(), abs=EXACT)


def spans(width: int, sizes: tuple[int, int], shared: int, seed: int) -> list[torch.Tensor]:
    """Draw columns of two parts that share their first directions, in float64."""
    stream = torch.Generator().manual_seed(seed)
    common = torch.randn(width, shared, generator=stream, dtype=torch.float64)
    own = [torch.randn(width, size, generator=stream, dtype=torch.float64) for size in sizes]
    return [torch.cat([common, part], dim=1)[:, :size] for part, size in zip(own, sizes, strict=True)]


@given(st.integers(4, 12), st.data(), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_principal_angles_are_those_of_scipy(width: int, data: st.DataObject, seed: int) -> None:
    sizes = (data.draw(st.integers(1, width)), data.draw(st.integers(1, width)))
    shared = data.draw(st.integers(0, min(sizes)))
    first, second = spans(width, sizes, shared, seed)
    wanted = np.cos(linalg.subspace_angles(first.numpy(), second.numpy()))[::-1]
    found = principal_cosines(Subspace(retract(first)), Subspace(retract(second)))
    assert found.numpy() == pytest.approx(wanted, abs=SINGLE)
    assert overlap(found) == pytest.approx(float(np.mean(wanted**2)), abs=SINGLE)
    assert (found > 1 - SINGLE).sum() >= shared


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_angles_of_other_featurizers_are_those_of_scipy(seed: int) -> None:
    stream = torch.Generator().manual_seed(seed)
    rows = torch.randn(6, 8, generator=stream, dtype=torch.float64)
    mask = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    features = Dictionary(
        encoder=rows.mT.contiguous(),
        encoder_bias=torch.zeros(6, dtype=torch.float64),
        decoder=rows,
        decoder_bias=torch.zeros(8, dtype=torch.float64),
        mask=mask,
        activation=Activation(),
    )
    rotation = retract(torch.randn(8, 8, generator=stream, dtype=torch.float64))
    weights = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    wanted = linalg.subspace_angles(rows[mask > 0.5].mT.numpy(), rotation[:, weights > 0.5].numpy())
    found = principal_cosines(features, MaskedBasis(weights, rotation))
    assert found.numpy() == pytest.approx(np.cos(wanted)[::-1], abs=SINGLE)


def test_an_angle_of_one_radian_is_one_radian() -> None:
    first = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    second = torch.tensor([[math.cos(1.0)], [math.sin(1.0)]], dtype=torch.float64)
    (cosine,) = principal_cosines(Subspace(first), Subspace(second)).tolist()
    (wanted,) = linalg.subspace_angles(first.numpy(), second.numpy())
    assert wanted == pytest.approx(1.0, abs=EXACT)
    assert math.acos(cosine) == pytest.approx(wanted, abs=SINGLE)
