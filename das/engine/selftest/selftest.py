"""Proves on the loaded weights what will be used of a target: its streams, part by part, and its engine. What
fails is refused by name, the rest stays. It knows the laws and draws the conclusions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from das.engine.base.protocol import Engine, ForcedPair
from das.engine.engines.direct import DirectEngine
from das.engine.engines.resume import ResumeEngine
from das.engine.selftest.additive import made_up_rows, tolerance
from das.engine.selftest.laws import FAILURES, Law, Trial, difference, first_line, site_of
from das.featurizers import MaskedBasis
from das.models import kept
from das.models.base import TargetModel
from das.models.configs import windows
from das.models.load import memory_guard, ran_out_of_memory
from das.sites import STREAMS, Stream
from ravel.common.errors import SuiteError
from ravel.terms.schema import Prompt

__all__ = ["SelfTest", "check_engine", "proven", "self_test"]

_HOW_TO = "docs/how-to/add-a-model-family.md"
_TEXTS = ("Rome is in", "The city of Ulm", "So, where is Oslo: it is the")
"""Texts of different lengths for comparing engines."""
_LONGEST_PROBE = 512
"""Tokens of a probe beyond a turning point at most; a longer one would take longer than all else."""
_VERSION = 1
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
        """Raise SuiteError, with the measured difference and the bound, for the first law that is broken."""
        for law in self.broken():
            raise _refusal(law, f"{self.target}, read as {self.family}", _declare("choose another model"))


def _refusal(law: Law, target: str, todo: str) -> SuiteError:
    relation = "more than" if law.exceeds else "at most"
    return SuiteError(
        expected=f"a target in which {law.name} (relative difference {relation} {law.bound:g})",
        came=law.failure or f"{law.measured:.3g} at {law.where} of {target}",
        todo=todo,
    )


def _declare(otherwise: str) -> str:
    return f"{otherwise}, or declare where its parts are in one file ({_HOW_TO})"


def self_test(target: TargetModel, layers: Sequence[int] | None = None) -> SelfTest:
    """Try the laws on two made-up rows of tokens; no text is needed.

    - Every block runs once, in order, and the heads side by side are what the output projection reads.
    - Writing a vector where it was read changes nothing.
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
    the half-width dtypes. Costs about 20 forward passes of 12 tokens per block tried. Writes nothing to the
    target.
    """
    tried = _layers(target) if layers is None else layers
    with torch.inference_mode(False), torch.no_grad():
        return SelfTest(target.name, target.family.name, tuple(Trial(target).laws(tried)))


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
    folder, key = Path(target.name), _key(target)
    known = kept.read(folder, key) if folder.is_dir() else None
    if not isinstance(known, dict):
        known = _verdict(target)
        if folder.is_dir():
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
            refused = found.refusals()
            if "block_output" in refused:
                found.check()
            served = replace(target, refused=refused)
            check_engine(DirectEngine(served))
        except FAILURES as error:
            if ran_out_of_memory(error):
                raise
            raise _cannot_run(target, error) from error
        return {"refused": dict(refused), "no_resume": _why_no_resume(served)}


def _cannot_run(target: TargetModel, error: Exception) -> SuiteError:
    return SuiteError(
        expected="a model that the engine direct can run",
        came=f"{target.name}, read as {target.family.name}, which fails with: {first_line(error)}",
        todo=_declare("choose another model"),
    )


def _why_no_resume(target: TargetModel) -> str | None:
    engine = ResumeEngine(target)
    if engine.fallback is not None:
        return engine.fallback
    try:
        check_engine(engine)
    except SuiteError as error:
        if "out of memory" in error.came:
            raise
        return error.came
    except FAILURES as error:
        if ran_out_of_memory(error):
            raise
        return first_line(error)
    return None


def check_engine(engine: Engine) -> None:
    """Raise SuiteError unless the engine answers as `direct` does with each pair alone, where nothing is
    padded.

    An engine may rely on more than where the parts are, such as on positions that can be given. Where the
    model reads longer rows otherwise, one of the rows is longer.
    """
    target = engine.target
    prompts = _prompts(target)
    labels = [tuple(int(i) for i in row) for row in made_up_rows(target)[:, :3]] + [(1,)] * len(prompts)
    pairs = [
        ForcedPair(base, source, ids)
        for base, source, ids in zip(prompts, (*prompts[1:], prompts[0]), labels, strict=False)
    ]
    for stream in target.streams:
        site = site_of(target, stream, target.n_layers // 2)
        swap = MaskedBasis(torch.ones(target.width(site), device=target.device))
        with torch.no_grad():
            alone = DirectEngine(target, batch_tokens=1).interchange_logits(pairs, site, swap)
            found = engine.interchange_logits(pairs, site, swap)
        name = f"the engine {engine.name} answers as one row alone does"
        law = Law(name, str(site), difference(found, alone), tolerance(target))
        if not law.holds:
            other = "choose another model" if engine.name == "direct" else "try --engine direct"
            raise _refusal(law, f"{target.name}, read as {target.family.name}", _declare(other))


def _prompts(target: TargetModel) -> list[Prompt]:
    """Return short prompts, and one beyond each turning point that is not too far off; none is too long for
    the model.

    So for each window of a family that a program found: some models have theirs where no mask shows it.
    """
    per_word = max(1, len(target.tokenizer(" so" * 8, add_special_tokens=False)["input_ids"]) // 8)
    points = (*target.turning_points, *(windows(target.config) if target.family.inferred else ()))
    near = [point for point in points if point <= _LONGEST_PROBE]
    texts = [*_TEXTS, *(_TEXTS[0] + " so" * (point // per_word + 1) for point in near)]
    limit = target.max_tokens
    fitting = [
        text for text in texts if limit is None or len(target.tokenizer(text)["input_ids"]) + 3 <= limit
    ]
    return [Prompt(text, text, text, None, (0, len(text))) for text in fitting or texts[:1]]
