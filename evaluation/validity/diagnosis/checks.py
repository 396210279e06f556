"""Which checks a diagnosis passes, and its verdict in one line; patches and measures are plain numbers.

The thresholds are conventions of this suite. No paper proves one, and none of these checks proves or refutes
an illusion by itself: each says where a subspace behaves unlike a variable that the model itself uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evaluation.records.diagnosis import Check, Measure, PatchScore

NORMALISATION = (
    "row and null parts are orthonormalised (normalised); un-normalised parts stand beside them, uncounted"
)
"""Which convention the checks of parts read. Wu et al. 2024 (arXiv 2401.12631) show that the other one can
call a sound direction an illusion."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where a check begins to fail."""

    value: float
    """The threshold; a value that equals it passes."""
    sense: Literal["at least", "at most"]
    """On which side of it a value passes."""
    why: str
    """Why there."""

    def holds(self, value: float) -> bool:
        """Tell whether a value passes."""
        return value >= self.value if self.sense == "at least" else value <= self.value


THRESHOLDS: Mapping[str, Threshold] = {
    "beats_nothing": Threshold(
        0.0, "at least", "disentangle beyond that of no patch; cause bought with isolate singles out nothing"
    ),
    "beats_random": Threshold(
        0.1, "at least", "cause beyond random subspaces of equal size; with 200 pairs less is within chance"
    ),
    "beats_shuffled": Threshold(
        0.1, "at least", "cause beyond the same method on shuffled labels; less is what fitting alone brings"
    ),
    "row_part": Threshold(
        0.8,
        "at least",
        "share of cause kept by the part its readers see; a fifth may be lost to estimation",
    ),
    "null_part": Threshold(
        0.2, "at most", "share of cause that the part its readers cannot see has; it should have none"
    ),
    "full_vector": Threshold(
        0.1, "at most", "cause beyond that of the whole vector, which holds all that a natural run brings"
    ),
    "neighbouring_sites": Threshold(
        0.5, "at least", "the whole vector's cause here over the largest here or a layer away"
    ),
    "beats_readout": Threshold(
        0.0,
        "at least",
        "as many unembedding directions are not better in both cause and isolate",
    ),
    "beats_gradient": Threshold(
        0.0,
        "at least",
        "as many training gradients' directions are not better in both cause and isolate",
    ),
    "readout_share": Threshold(
        0.5, "at most", "share of it inside the answers' unembedding, beyond chance; more is an output knob"
    ),
    "variance_share": Threshold(
        0.1, "at least", "natural variance along it over that of as many average directions; less is dormant"
    ),
    "dormant_share": Threshold(
        0.5, "at most", "share of what is written along directions that hardly vary naturally, beyond chance"
    ),
    "mahalanobis": Threshold(
        0.1, "at most", "share of patched states beyond 99 % of natural ones, less that of random subspaces"
    ),
    "neighbours": Threshold(
        0.1, "at most", "share of patched states lonelier than 99 % of natural ones, less that of random ones"
    ),
    "overshoot": Threshold(
        1.25, "at most", "how far the answer is pushed, with the natural run of the source's entity at 1"
    ),
    "hidden_pathway": Threshold(
        0.25, "at most", "share of the effect lost where neurons downstream stay in their natural ranges"
    ),
    "seeds_agree": Threshold(
        0.5,
        "at least",
        "mean squared cosine between subspaces of several seeds; chance has size over width",
    ),
}
"""All checks, in the order of the verdict."""

LEAST_CAUSE = 0.1
"""Cause below which shares of it say nothing."""


def checks_of(patches: Sequence[PatchScore], measures: Sequence[Measure]) -> tuple[Check, ...]:
    """Return every check in order; one whose numbers are missing does not apply, with the reason."""
    n = _Numbers(patches, measures)
    checks: dict[str, Callable[[], _ValueInWords]] = {
        "beats_nothing": lambda: _beats_nothing(n),
        "beats_random": lambda: _beyond(n, "random", "random subspaces of equal size"),
        "beats_shuffled": lambda: _beyond(n, "shuffled", "the same method on shuffled labels"),
        "row_part": lambda: _part(n, "row", "keeps", min),
        "null_part": lambda: _part(n, "null", "carries", max),
        "full_vector": lambda: _full_vector(n),
        "neighbouring_sites": lambda: _neighbouring_sites(n),
        "beats_readout": lambda: _undominated(n, "readout"),
        "beats_gradient": lambda: _undominated(n, "gradient"),
        "readout_share": lambda: n.measured(
            "readout_excess", "{:.0%} of it, beyond chance, is answers' unembedding"
        ),
        "variance_share": lambda: n.measured(
            "variance_ratio", "natural variance along it is {:.2f} of the average"
        ),
        "dormant_share": lambda: n.measured(
            "dormant_excess", "{:.0%} of the swap, beyond chance, is dormant"
        ),
        "mahalanobis": lambda: _distance(n, "mahalanobis", "farther out"),
        "neighbours": lambda: _distance(n, "neighbours", "lonelier"),
        "overshoot": lambda: _overshoot(n),
        "hidden_pathway": lambda: n.measured("hidden_pathway", "hidden pathway {:.2f}"),
        "seeds_agree": lambda: n.measured("seeds_agree", "seeds agree by {:.2f}"),
    }
    return tuple(_check(name, number) for name, number in checks.items())


def verdict_of(checks: Sequence[Check]) -> str:
    """Return one line: what was passed, what was failed, how parts were normalised, what does not apply."""
    applied = [check for check in checks if check.result != "not applicable"]
    failed = [check for check in applied if check.result == "failed"]
    line = f"passes {len(applied) - len(failed)} of {len(applied)}"
    if failed:
        line += "; fails: " + "; ".join(check.words for check in failed)
    if any(check.name in ("row_part", "null_part") for check in applied):
        line += "; parts normalised"
    left = len(checks) - len(applied)
    return line if not left else f"{line} ({left} not applicable)"


_ValueInWords = tuple[float, str]


class _UnknownNumberError(Exception):
    """A check's number is missing, for the reason that is told."""


def _check(name: str, number: Callable[[], _ValueInWords]) -> Check:
    threshold = THRESHOLDS[name]
    value, words, reason = None, "not applicable", ""
    result: Literal["passed", "failed", "not applicable"] = "not applicable"
    try:
        value, words = number()
        result = "passed" if threshold.holds(value) else "failed"
    except _UnknownNumberError as unknown:
        reason = str(unknown)
    return Check(name, value, threshold.value, threshold.sense, result, words, reason)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The numbers of one diagnosis; each method raises _UnknownNumberError for one that is missing."""

    patches: Sequence[PatchScore]
    """Of all patches."""
    measures: Sequence[Measure]
    """Of all measures."""

    def causes(self, *names: str) -> list[float]:
        """Return the cause of each patch."""
        return _known([self._score(name, "cause", f"{name} was not patched") for name in names])

    def disentangles(self, *names: str) -> list[float]:
        """Return the disentangle of each patch."""
        return _known([self._score(name, "disentangle", f"{name} has no isolate pairs") for name in names])

    def isolate(self, name: str) -> float | None:
        """Return the isolate of a patch; None where it has none."""
        return next((p.isolate for p in self.patches if p.name == name), None)

    def measure(self, name: str) -> float:
        """Return the value of a measure."""
        found = next((m for m in self.measures if m.name == name), None)
        if found is None or found.value is None:
            raise _UnknownNumberError((found and found.reason) or f"{name} was not measured")
        return found.value

    def measured(self, name: str, words: str) -> _ValueInWords:
        """Return a measure as it stands, and in words."""
        value = self.measure(name)
        return value, words.format(value)

    def _score(self, name: str, number: Literal["cause", "disentangle"], otherwise: str) -> float | str:
        found = next((p for p in self.patches if p.name == name), None)
        value: float | None = None if found is None else getattr(found, number)
        return ((found and found.reason) or otherwise) if value is None else value


def _known(numbers: Sequence[float | str]) -> list[float]:
    reasons = [number for number in numbers if isinstance(number, str)]
    if reasons:
        raise _UnknownNumberError("; ".join(reasons))
    return [number for number in numbers if not isinstance(number, str)]


def _beats_nothing(n: _Numbers) -> _ValueInWords:
    """The subspace disentangles no worse than no patch at all."""
    full, nothing = n.disentangles("full", "nothing")
    return full - nothing, f"disentangle {full:.2f} where no patch has {nothing:.2f}"


def _beyond(n: _Numbers, other: str, words: str) -> _ValueInWords:
    """The subspace's cause is beyond that of another patch."""
    full, rival = n.causes("full", other)
    return full - rival, f"cause {full:.2f} against {rival:.2f} of {words}"


def _part(
    n: _Numbers, part: str, verb: str, worst: Callable[[Sequence[tuple[float, str]]], tuple[float, str]]
) -> _ValueInWords:
    """The share of cause that a normalised part has: of several readers the worst one's."""
    # Parts are those of an orthogonal swap, so that an oblique one is no measure of them.
    (full,) = n.causes("orthogonal" if any(p.name == "orthogonal" for p in n.patches) else "full")
    if full < LEAST_CAUSE:
        raise _UnknownNumberError(f"the subspace itself brings a cause of {full:.2f}")
    parts = [p for p in n.patches if p.name == part and p.about in _counted_readers(n.patches)]
    shares = [(p.cause / full, p.about) for p in parts if p.cause is not None]
    if not shares:
        reasons = "; ".join(dict.fromkeys(p.reason for p in parts))
        raise _UnknownNumberError(reasons or "no reader is known")
    value, reader = worst(shares)
    return value, f"{part} part ({reader}) {verb} {value:.0%} of cause"


def _counted_readers(patches: Sequence[PatchScore]) -> set[str]:
    """Return the readers whose parts count: together they are all that reads the site next.

    What the attention alone cannot see the MLP may read, and what the vocabulary cannot see is read by
    the blocks before it; so these are shown and not counted, but for the vocabulary after the last block.
    """
    present = {p.about for p in patches if p.name == "row"}
    nearest = present & {"projection", "next_block"} or present & {"unembedding"}
    return {*nearest, *present & {"gradient", ""}}


def _full_vector(n: _Numbers) -> _ValueInWords:
    """No more cause is brought than the whole vector brings."""
    full, whole = n.causes("full", "full_vector")
    return full - whole, f"cause {full:.2f} where the whole vector has {whole:.2f}"


def _neighbouring_sites(n: _Numbers) -> _ValueInWords:
    """The whole vector here carries the attribute, as it may a layer away."""
    (here,) = n.causes("full_vector")
    beside = [p.cause for p in n.patches if p.name == "full_vector_beside" and p.cause is not None]
    if not beside:
        raise _UnknownNumberError("the model has no block beside this one")
    most = max(here, *beside)
    if most < LEAST_CAUSE:
        raise _UnknownNumberError(f"no whole vector here or a layer away brings more than {most:.2f}")
    return here / most, f"the whole vector has cause {here:.2f} here, {most:.2f} a layer away"


def _undominated(n: _Numbers, other: str) -> _ValueInWords:
    """Another patch is not better in both cause and isolate: the larger difference counts."""
    full, rival = n.causes("full", other)
    kept, theirs = n.isolate("full"), n.isolate(other)
    words = f"cause {full:.2f} against {rival:.2f} of as many {other} directions"
    if kept is None or theirs is None:
        return full - rival, words
    return max(full - rival, kept - theirs), f"{words}, isolate {kept:.2f} against {theirs:.2f}"


def _distance(n: _Numbers, name: str, words: str) -> _ValueInWords:
    """The share of far patched states against that of random subspaces."""
    excess, share = n.measure(f"{name}_excess"), n.measure(name)
    far = f"{share:.0%} of patched states are {words} than 99 % of natural ones"
    return excess, f"{far}, {share - excess:.0%} of randomly patched ones"


def _overshoot(n: _Numbers) -> _ValueInWords:
    """Answers are not pushed beyond those of natural runs."""
    full = next((p for p in n.patches if p.name == "full"), None)
    if full is None or full.reach is None:
        raise _UnknownNumberError("no logit differences of natural runs to compare with")
    return full.reach, f"overshoot: {full.reach:.2f} of the way to a natural run"
