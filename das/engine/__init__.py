"""Engines: they run a target model with a featurizer at a site."""

from __future__ import annotations

from das.engine.answering import EngineAnswerer
from das.engine.direct import DirectEngine
from das.engine.protocol import Engine, ForcedPair
from das.engine.resume import ResumeEngine
from das.engine.selftest import prove
from das.models.base import TargetModel
from ravel.common.errors import unknown_name

__all__ = ["ENGINES", "DirectEngine", "Engine", "EngineAnswerer", "ForcedPair", "ResumeEngine", "make_engine"]

ENGINES = ("direct", "reference", "resume")
"""Names of the engines, as on the command line."""


def make_engine(name: str, target: TargetModel, *, batch_tokens: int = 16_384) -> Engine:
    """Return an engine by name. Raises SuiteError for a name that is not in `ENGINES`, and for a target of no
    known family that fails the self-test.

    `batch_tokens` bounds one forward pass of `direct` and `resume`; the reference has its own plain batches.
    """
    if target.family.inferred:
        # By an engine of its own, so that the one returned has seen no made-up prompt.
        prove(_engine_called(name, target, batch_tokens))
    return _engine_called(name, target, batch_tokens)


def _engine_called(name: str, target: TargetModel, batch_tokens: int) -> Engine:
    if name == "direct":
        return DirectEngine(target, batch_tokens)
    if name == "resume":
        return ResumeEngine(target, batch_tokens)
    if name == "reference":
        # pyvene and what it pulls in take seconds to import, and only the oracle needs it.
        from das.engine.reference import ReferenceEngine

        return ReferenceEngine(target)
    raise unknown_name("engine", name, ENGINES)
