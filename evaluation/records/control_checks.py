"""What is written down of controls: a score, its floor and whether the one is at the other; torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.records.scores import Interval, control_row
from ravel.common.typed import Record
from ravel.terms.schema import Generalisation

CONTROL_CHECKS = "control_checks.jsonl"
"""Name of the file in the folder of a run."""
NECESSITY = "necessity"
"""Measure of the control `complement`, which swaps all but what was found: the share of the target's pairs
that keep the base's answer."""
DIVERSITY = "diversity"
"""Measure of a row that has a twin on random weights: how much its swapped states vary, beside natural
ones."""
EVERY_ATTRIBUTE = "*"
"""Stands for the mean over attributes."""


@dataclass(frozen=True, slots=True)
class ControlCheck(Record):
    """One line of `control_checks.jsonl`: one score of a method under a control, held against its floor on
    test pairs."""

    MEND = "run the suite again with this version of ravel-bench"

    control: str
    """As in `ravel list controls`."""
    method: str
    """The controlled method, by its own name."""
    attribute: str
    """The target attribute, or `*` for the mean over attributes."""
    generalisation: Generalisation
    """What is held out."""
    judged: str
    """What is judged, in words: a control may be looked at in several ways."""
    measure: str
    """`cause`, `isolate`; under `complement`, `necessity`: the share of the target's pairs that keep the
    base's answer; of a row with a twin, `diversity`: the ratio of `das.diagnostics.diversity`, which has no
    floor."""
    score: float | None
    """The score under the control; None without pairs."""
    score_interval: Interval | None
    """95 %, with entities and templates as clusters."""
    floor: float | None
    """The score at the floor, on the same pairs."""
    floor_interval: Interval | None
    """95 %, with entities and templates as clusters."""
    floor_is: str
    """What the floor is and how it was worked out."""
    difference: float | None
    """Score minus floor."""
    difference_interval: Interval | None
    """95 % interval of the paired difference, with entities and templates as clusters."""
    at_floor: bool | None
    """Whether the interval of the difference contains 0 or lies below it; None without pairs."""
    required: bool
    """Whether it must be at its floor; False where the score is only shown beside it."""
    ordinary: float | None
    """The same score of the method without the control, on the true pairs of the split."""
    n: int
    """Number of pairs behind the score."""
    sites: tuple[str, ...]
    """Where the featurizers act."""
    sizes: tuple[int, ...]
    """How many coordinates they swap."""
    seed: int
    """Root of the random streams of control and fit."""
    cells: tuple[str, ...]
    """The cells behind it, in the run's `controls/<control>/cells/`."""

    @property
    def failed_to_fail(self) -> bool:
        """True if the score must be at its floor and is above it."""
        return self.required and self.at_floor is False

    @property
    def verdict(self) -> str:
        """Where the score is, in words."""
        if self.measure == DIVERSITY:
            return "has no floor"
        if self.at_floor is None:
            return "without pairs"
        if self.measure == NECESSITY:
            return "no more than its floor" if self.at_floor else "above its floor, as it should be"
        if self.at_floor:
            return "at its floor"
        return "ABOVE ITS FLOOR" if self.required else "above it, which it may be"


@dataclass(frozen=True, slots=True)
class TwinDiversity(Record):
    """One line of a twin's `diversity.jsonl`: diversity ratios for one attribute on the test pairs of a
    split."""

    MEND = "remove the file and run the suite again"

    attribute: str
    """The target attribute."""
    generalisation: Generalisation
    """What is held out."""
    ordinary: float | None
    """Of the featurizer that was found in the model; None where it can't be told."""
    twin: float | None
    """Of the one that was found in the model with random weights."""
    n: int
    """Pairs behind each."""


def is_at_floor(difference: float | None, interval: Interval | None) -> bool | None:
    """Return whether a score is at its floor: the 95 % interval of score minus floor contains 0 or lies below
    it. Without an interval the difference itself decides; None without a difference."""
    if difference is None:
        return None
    return (difference if interval is None else interval[0]) <= 0


def read_control_checks(path: Path) -> list[ControlCheck]:
    """Read a `control_checks.jsonl`; an absent file holds none."""
    return ControlCheck.read(path) if path.is_file() else []


def control_sentences(checks: Sequence[ControlCheck]) -> list[str]:
    """Return the means over attributes in words, a sentence each, and which single attributes are above their
    floor where they must not be."""
    said = [_sentence(check) for check in checks if check.attribute == EVERY_ATTRIBUTE]
    above = [c for c in checks if c.attribute != EVERY_ATTRIBUTE and c.failed_to_fail]
    single = sum(c.attribute != EVERY_ATTRIBUTE and c.required and c.at_floor is not None for c in checks)
    if above:
        rows = [f"{control_row(c.method, c.control)} {c.attribute} ({c.generalisation})" for c in above]
        named = ", ".join(rows)
        said.append(f"Of {single} checks of single attributes {len(above)} are above their floor: {named}.")
    elif single:
        said.append(f"All {single} checks of single attributes are at their floor.")
    return said


def control_summary(checks: Sequence[ControlCheck]) -> list[str]:
    """Return the result in a few sentences: how many scores that must be at their floor are, which are not,
    which need not be and are above it, each necessity and each diversity ratio. Empty without checks."""
    held = [check for check in checks if check.required and check.at_floor is not None]
    above = [check for check in held if check.failed_to_fail]
    if not checks:
        return []
    said = [f"Controls: {len(held) - len(above)} of {len(held)} scores that must be at their floor are."]
    said += [_sentence(check) for check in above]
    means = [check for check in checks if check.attribute == EVERY_ATTRIBUTE]
    beside = (NECESSITY, DIVERSITY)
    shown = [c for c in means if not c.required and (c.at_floor is False or c.measure in beside)]
    return [*said, *map(_sentence, shown)]


def _sentence(check: ControlCheck) -> str:
    attribute = "" if check.attribute == EVERY_ATTRIBUTE else f"{check.attribute}, "
    row = control_row(check.method, check.control)
    name = f"{row}, {attribute}{check.generalisation}, {check.judged}"
    if check.measure == DIVERSITY:
        return f"{name}: {DIVERSITY} {_number(check.score)}; without the control {_number(check.ordinary)}."
    if check.score is None or check.floor is None:
        return f"{name}: no pairs."
    ordinary = "" if check.ordinary is None else f"; without the control {check.ordinary:.3f}"
    return (
        f"{name}: {check.measure} {check.score:.3f}{_ends(check.score_interval)} against "
        f"{check.floor:.3f}, {check.verdict}{ordinary}."
    )


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _ends(interval: Interval | None) -> str:
    return "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
