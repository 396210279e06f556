"""Engines: they run a target model with a featurizer at a site."""

from __future__ import annotations

from pathlib import Path

from das.engine.base.protocol import Engine, ForcedPair
from das.engine.engines.answering import EngineAnswerer
from das.engine.engines.direct import DirectEngine
from das.engine.engines.resume import ResumeEngine
from das.engine.selftest.engine_check import check_engine
from das.engine.selftest.selftest import proven
from das.models.base import TargetModel
from ravel.common.errors import one_of

__all__ = ["ENGINES", "DirectEngine", "Engine", "EngineAnswerer", "ForcedPair", "ResumeEngine", "make_engine"]

ENGINES = ("direct", "reference", "resume")
"""Names of the engines, as on the command line."""


def make_engine(
    name: str,
    target: TargetModel,
    *,
    batch_tokens: int = 16_384,
    cache_bytes: int | None = None,
    cache_folder: Path | None = None,
    prove: bool = False,
) -> Engine:
    """Return an engine by name. Raises SuiteError for a name that is not in `ENGINES`, and for a target whose
    block outputs fail the self-test.

    A target of no declared family is put to the self-test, one of a declared family with `prove` only, unless
    it was before; the engine's target then refuses what failed.
    `batch_tokens` bounds one forward pass of `direct` and `resume`; the reference has its own plain batches.
    `cache_bytes` bounds what `resume` keeps in memory, None for a share of what is free; what does not fit
    goes to `cache_folder`, or is computed again where that is None. Raises SuiteError for a folder that
    another model or version wrote.
    """
    one_of("engine", name, ENGINES)
    if target.refused is None and (target.family.inferred or prove):
        target = proven(target)
    if target.family.inferred and name == "reference":
        # By an engine of its own, so that the one returned has seen no made-up prompt.
        check_engine(_engine_called(name, target, batch_tokens))
    return _engine_called(name, target, batch_tokens, cache_bytes, cache_folder)


def _engine_called(
    name: str,
    target: TargetModel,
    batch_tokens: int,
    cache_bytes: int | None = None,
    cache_folder: Path | None = None,
) -> Engine:
    if name == "direct":
        return DirectEngine(target, batch_tokens)
    if name == "resume":
        return ResumeEngine(target, batch_tokens, state_bytes=cache_bytes, cache_folder=cache_folder)
    # pyvene and what it pulls in take seconds to import, and only the oracle needs it.
    from das.engine.engines.reference import ReferenceEngine

    return ReferenceEngine(target)
