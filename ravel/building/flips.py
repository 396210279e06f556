"""How many labels depend on the batch: a sample of the kept prompts is asked again, each alone."""

from __future__ import annotations

from collections.abc import Sequence

from ravel.asking.knowledge import Questioner
from ravel.asking.labelling import Labeller
from ravel.building.cells import AnsweredCell
from ravel.common.progress import Counted, Progress
from ravel.common.seeds import numpy_stream


def label_flips(
    answered: Sequence[AnsweredCell],
    questioner: Questioner,
    labeller: Labeller,
    *,
    sample: int,
    seed: int,
    progress: Progress,
) -> dict[str, int]:
    """Ask a sample again one at a time; return how many were asked and how many labels or verdicts differ."""
    size = min(sample, len(answered))
    chosen = numpy_stream(seed, "label flips").choice(len(answered), size, replace=False)
    differ = 0
    for done, place in enumerate(sorted(chosen.tolist()), start=1):
        differ += _differs(answered[place], questioner, labeller)
        progress(Counted("asked alone", done, size))
    return {"asked": size, "differ": differ}


def _differs(one: AnsweredCell, questioner: Questioner, labeller: Labeller) -> bool:
    again = questioner.ask((one.cell.template,), (one.cell.facts,), stop="labelled")
    correct = bool(again.right.any())
    answer = again.completions[0][0]
    before = labeller.record(one.cell, one.answer, correct=one.correct)
    after = None if answer is None else labeller.record(one.cell, answer, correct=correct)
    return (before and before.label) != (after and after.label) or correct != one.correct
