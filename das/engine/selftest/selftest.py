"""Proves on the loaded weights what will be used of a target: its streams, part by part, and its engine. What
fails is refused by name, the rest stays. It knows the laws and draws the conclusions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import torch

from das.engine.engines.direct import DirectEngine
from das.engine.engines.resume import ResumeEngine
from das.engine.selftest.engine_check import LoneAnswer, answers_alone, check_engine, reading_laws
from das.engine.selftest.law import FAILURES, BrokenLawError, Law, first_line, how_to_declare
from das.engine.selftest.laws import StreamLaws
from das.models import kept
from das.models.base import TargetModel
from das.out_of_memory import MemoryShortageError, memory_guard, ran_out_of_memory
from das.sites import STREAMS, Stream
from ravel.common.errors import SuiteError

_VERSION = 2
"""Counts up when the laws change, so that kept verdicts are made anew."""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What the laws came to on one target."""

    target: str
    """The target's name."""
    family: str
    """The family's name."""
    laws: tuple[Law, ...]
    """Every law that was tried, in the order of the tries."""

    def broken(self) -> tuple[Law, ...]:
        """Return the laws that do not hold."""
        return tuple(law for law in self.laws if not law.holds)

    def refusals(self) -> dict[Stream, str]:
        """Return the streams that can't be offered, each with the first law that is broken there."""
        found: dict[Stream, str] = {}
        for law in self.broken():
            for stream in law.streams:
                found.setdefault(stream, law.in_words())
        return {stream: found[stream] for stream in STREAMS if stream in found}

    def check(self) -> None:
        """Raise BrokenLawError for the first law that is broken."""
        for law in self.broken():
            todo = how_to_declare("choose another model")
            raise BrokenLawError(law, f"{self.target}, read as {self.family}", todo)


def self_test(target: TargetModel, layers: Sequence[int] | None = None) -> SelfTest:
    """Try the laws on two made-up rows of tokens; no text is needed.

    - Every block runs once, in order, and the heads side by side are what the output projection reads.
    - Writing a vector where it was read changes nothing. A block or part that runs twice is found by it.
    - Another vector at a token changes logits there or after it, and none before it.
    - With a block's output that of another row at every token, the logits are that row's: the stream holds
      all that a later block can know.
    - With a changed token below a block, yet the attention's output as it was at all later ones, the block's
      output there is as it was: nothing but the attention takes anything from token to token.
    - With every head that of another row, so is the attention's output.
    - With attention and MLP held, another stream below a block passes straight through it: the block adds
      these two, with its own norms and factors, and nothing else.

    `layers` are those that are tried; None: the first, middle and last, and one of each other kind of block.
    Streams that the family refuses are left out. Bounds are 1e-3 of the largest number in float32 and 0.05 in
    the half-width dtypes. Costs a forward pass of 12 tokens, and one of up to 96 for each block tried; a
    broken one costs some more. Writes nothing to the target.
    """
    tried = _layers(target) if layers is None else layers
    with torch.inference_mode(False), torch.no_grad():
        return SelfTest(target.name, target.family.name, tuple(StreamLaws(target, tried).tried()))


def _layers(target: TargetModel) -> list[int]:
    blocks = target.family.blocks(target.model)
    kinds: dict[Any, int] = {}
    for layer, block in enumerate(blocks):
        kinds.setdefault((type(block), *(type(part) for part in block.children())), layer)
    return sorted({0, len(blocks) // 2, len(blocks) - 1, *kinds.values()})


def proven(target: TargetModel) -> TargetModel:
    """Return the target with what the self-test refuses of it: streams by name, and the engine `resume`.

    A declared family, which the tests know, is tried at its middle block; one that a program found, at one of
    each kind. The verdict is kept beside the weights, for this instrument and these versions. Raises
    SuiteError for a model of which not even block outputs can be served.
    """
    folder, key = target.folder, _key(target)
    known = None if folder is None else kept.read(folder, key)
    if not isinstance(known, dict):
        known = _verdict(target)
        if folder is not None:
            kept.write(folder, key, known)
    refused = {stream: known["refused"][stream] for stream in STREAMS if stream in known["refused"]}
    return replace(target, refused=refused, no_resume=known["no_resume"])


def _key(target: TargetModel) -> dict[str, Any]:
    return {
        "what": "self-test",
        "version": _VERSION,
        "instrument": target.instrument.own_fingerprint,
        "family": target.family.name,
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "device": str(target.device),
    }


def _verdict(target: TargetModel) -> dict[str, Any]:
    """Return the streams that are refused, each with the reason, and why `resume` is, if it is."""
    todo = "lower --batch-tokens or --cache-memory, or load the model in a smaller dtype (--dtype bfloat16)"
    # To run out of memory says nothing about the model.
    with memory_guard("room for a few tokens at once", todo):
        try:
            found = self_test(target, None if target.family.inferred else [target.n_layers // 2])
            if "block_output" in found.refusals():
                found.check()
            served = replace(target, refused=found.refusals())
            direct, alone = DirectEngine(served), answers_alone(served)
            # Without that of block outputs, which is told below with what to do about it.
            found = replace(found, laws=(*found.laws, *reading_laws(direct, alone)[1:]))
            served = replace(target, refused=found.refusals())
            alone = [answer for answer in alone if answer.site.stream in served.streams]
            # The hooks that swap are those of the laws, so that one stream shows what padding does to them.
            check_engine(direct, alone, swaps=1)
        except FAILURES as error:
            if ran_out_of_memory(error):
                raise
            raise _cannot_run(target, error) from error
        return {"refused": found.refusals(), "no_resume": _why_no_resume(served, alone)}


def _cannot_run(target: TargetModel, error: Exception) -> SuiteError:
    return SuiteError(
        expected="a model that the engine direct can run",
        came=f"{target.name}, read as {target.family.name}, which fails with: {first_line(error)}",
        todo=how_to_declare("choose another model"),
    )


def _why_no_resume(served: TargetModel, alone: Sequence[LoneAnswer]) -> str | None:
    """Return why `resume` does not answer truly, in its own words where it can tell; None if it does."""
    engine = ResumeEngine(served)
    if engine.fallback is not None:
        return engine.fallback
    try:
        check_engine(engine, alone)
    except MemoryShortageError:
        raise
    except BrokenLawError as error:
        reason = error.law.in_words()
    except SuiteError as error:
        reason = error.came
    except FAILURES as error:
        if ran_out_of_memory(error):
            raise
        reason = first_line(error)
    else:
        return None
    return ResumeEngine(replace(served, refused=None)).fallback or reason
