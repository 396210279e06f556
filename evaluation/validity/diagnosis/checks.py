"""Which checks a diagnosis passes, and its verdict in one line; patches and measures are plain numbers.

The thresholds are conventions of this suite. No paper proves one, and none of these checks proves or refutes
an illusion by itself: each says where a subspace behaves unlike a variable that the model itself uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evaluation.records.diagnosis import Check, Measure, PatchScore

__all__ = ["NORMALISATION", "THRESHOLDS", "Threshold", "checks_of", "verdict_of"]

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
    desk = _Desk(patches, measures)
    return (
        desk.beats_nothing(),
        desk.beyond("beats_random", "random", "random subspaces of equal size"),
        desk.beyond("beats_shuffled", "shuffled", "the same method on shuffled labels"),
        desk.part("row_part", "row"),
        desk.part("null_part", "null"),
        desk.full_vector(),
        desk.neighbouring_sites(),
        desk.undominated("beats_readout", "readout"),
        desk.undominated("beats_gradient", "gradient"),
        desk.measured(
            "readout_share", "{:.0%} of it, beyond chance, is answers' unembedding", "readout_excess"
        ),
        desk.variance(),
        desk.measured("dormant_share", "{:.0%} of the swap, beyond chance, is dormant", "dormant_excess"),
        desk.distance("mahalanobis", "farther out"),
        desk.distance("neighbours", "lonelier"),
        desk.overshoot(),
        desk.measured("hidden_pathway", "hidden pathway {:.2f}"),
        desk.measured("seeds_agree", "seeds agree by {:.2f}"),
    )


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


@dataclass(frozen=True, slots=True)
class _Desk:
    """The numbers of one diagnosis, from which checks are made."""

    patches: Sequence[PatchScore]
    """Of all patches."""
    measures: Sequence[Measure]
    """Of all measures."""

    def beyond(self, name: str, other: str, words: str) -> Check:
        """Check that the subspace's cause is beyond that of another patch."""
        full, rival = self._cause("full"), self._cause(other)
        if isinstance(full, str) or isinstance(rival, str):
            return _missing(name, full, rival)
        return _check(name, full - rival, f"cause {full:.2f} against {rival:.2f} of {words}")

    def part(self, name: str, part: str) -> Check:
        """Check the share of cause that a normalised part has: of several readers the worst one's."""
        # Parts are those of an orthogonal swap, so that an oblique one is no measure of them.
        full = self._cause("orthogonal" if any(p.name == "orthogonal" for p in self.patches) else "full")
        if isinstance(full, str):
            return _missing(name, full)
        if full < LEAST_CAUSE:
            return _missing(name, f"the subspace itself brings a cause of {full:.2f}")
        found = [p for p in self.patches if p.name == part and p.about in self._counted()]
        shares = [(p.cause / full, p.about) for p in found if p.cause is not None]
        if not shares:
            return _missing(name, "; ".join(dict.fromkeys(p.reason for p in found)) or "no reader is known")
        value, reader = min(shares) if THRESHOLDS[name].sense == "at least" else max(shares)
        verb = "keeps" if part == "row" else "carries"
        return _check(name, value, f"{part} part ({reader}) {verb} {value:.0%} of cause")

    def _counted(self) -> set[str]:
        """Return the readers whose parts count: together they are all that reads the site next.

        What the attention alone cannot see the MLP may read, and what the vocabulary cannot see is read by
        the blocks before it; so these are shown and not counted, but for the vocabulary after the last block.
        """
        present = {p.about for p in self.patches if p.name == "row"}
        nearest = present & {"projection", "next_block"} or present & {"unembedding"}
        return {*nearest, *present & {"gradient", ""}}

    def full_vector(self) -> Check:
        """Check that no more cause is brought than the whole vector brings."""
        full, whole = self._cause("full"), self._cause("full_vector")
        if isinstance(full, str) or isinstance(whole, str):
            return _missing("full_vector", full, whole)
        return _check("full_vector", full - whole, f"cause {full:.2f} where the whole vector has {whole:.2f}")

    def neighbouring_sites(self) -> Check:
        """Check that the whole vector here carries the attribute, as it may a layer away."""
        name, here = "neighbouring_sites", self._cause("full_vector")
        beside = [p.cause for p in self.patches if p.name == "full_vector_beside" and p.cause is not None]
        if isinstance(here, str):
            return _missing(name, here)
        if not beside:
            return _missing(name, "the model has no block beside this one")
        most = max(here, *beside)
        if most < LEAST_CAUSE:
            return _missing(name, f"no whole vector here or a layer away brings more than {most:.2f}")
        return _check(
            name, here / most, f"the whole vector has cause {here:.2f} here, {most:.2f} a layer away"
        )

    def beats_nothing(self) -> Check:
        """Check that the subspace disentangles no worse than no patch at all."""
        full, nothing = self._disentangle("full"), self._disentangle("nothing")
        if isinstance(full, str) or isinstance(nothing, str):
            return _missing("beats_nothing", full, nothing)
        words = f"disentangle {full:.2f} where no patch has {nothing:.2f}"
        return _check("beats_nothing", full - nothing, words)

    def undominated(self, name: str, other: str) -> Check:
        """Check that another patch is not better in both cause and isolate: the larger difference counts."""
        full, rival = self._cause("full"), self._cause(other)
        if isinstance(full, str) or isinstance(rival, str):
            return _missing(name, full, rival)
        kept, theirs = self._isolate("full"), self._isolate(other)
        words = f"cause {full:.2f} against {rival:.2f} of as many {other} directions"
        if kept is None or theirs is None:
            return _check(name, full - rival, words)
        return _check(
            name, max(full - rival, kept - theirs), f"{words}, isolate {kept:.2f} against {theirs:.2f}"
        )

    def measured(self, name: str, words: str, measure: str | None = None) -> Check:
        """Check a measure as it stands, by default the one of the check's name."""
        value = self._measure(measure or name)
        return _missing(name, value) if isinstance(value, str) else _check(name, value, words.format(value))

    def variance(self) -> Check:
        """Check natural variance along the subspace against that of as many average directions."""
        value = self._measure("variance_ratio")
        if isinstance(value, str):
            return _missing("variance_share", value)
        return _check("variance_share", value, f"natural variance along it is {value:.2f} of the average")

    def distance(self, name: str, words: str) -> Check:
        """Check the share of far patched states against that of random subspaces."""
        share, excess = self._measure(name), self._measure(f"{name}_excess")
        if isinstance(share, str) or isinstance(excess, str):
            return _missing(name, excess)
        found = f"{share:.0%} of patched states are {words} than 99 % of natural ones, {share - excess:.0%} "
        return _check(name, excess, f"{found}of randomly patched ones")

    def overshoot(self) -> Check:
        """Check that answers are not pushed beyond those of natural runs."""
        full = next((p for p in self.patches if p.name == "full"), None)
        if full is None or full.reach is None:
            return _missing("overshoot", "no logit differences of natural runs to compare with")
        return _check("overshoot", full.reach, f"overshoot: {full.reach:.2f} of the way to a natural run")

    def _cause(self, name: str) -> float | str:
        found = next((p for p in self.patches if p.name == name), None)
        if found is None or found.cause is None:
            return (found.reason if found is not None else "") or f"{name} was not patched"
        return found.cause

    def _disentangle(self, name: str) -> float | str:
        found = next((p for p in self.patches if p.name == name), None)
        if found is None or found.disentangle is None:
            return (found.reason if found is not None else "") or f"{name} has no isolate pairs"
        return found.disentangle

    def _isolate(self, name: str) -> float | None:
        return next((p.isolate for p in self.patches if p.name == name), None)

    def _measure(self, name: str) -> float | str:
        found = next((m for m in self.measures if m.name == name), None)
        if found is None or found.value is None:
            return (found.reason if found is not None else "") or f"{name} was not measured"
        return found.value


def _check(name: str, value: float, words: str) -> Check:
    threshold = THRESHOLDS[name]
    result: Literal["passed", "failed"] = "passed" if threshold.holds(value) else "failed"
    return Check(name, value, threshold.value, threshold.sense, result, words)


def _missing(name: str, *numbers: float | str) -> Check:
    reasons = [number for number in numbers if isinstance(number, str)]
    threshold = THRESHOLDS[name]
    return Check(
        name, None, threshold.value, threshold.sense, "not applicable", "not applicable", "; ".join(reasons)
    )
