"""Answers of a small model by several processes: each continues a part of the prompts."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection

from das.engine import EngineAnswerer, ResumeEngine, make_engine
from evaluation.suite.execution.beside import (
    SharedModel,
    available_processors,
    begin_process,
    keeps_no_history,
    script_left_out,
    shared_model,
)
from ravel.asking.answerer import Answerer, Decided, SentRule, StopNotes, complete, sent_rule
from ravel.terms.schema import Completion, Prompt

_MOST_HELPERS = 3
_FEWEST_QUESTIONS = 8_000
"""Of fewer, most are answered before another process has opened the model."""
_FEWEST_PROMPTS = 64
"""Of one call, to be divided."""
_MOST_PARAMETERS = 20_000_000
"""Larger models keep all processors at work in one process."""


@dataclass(frozen=True, slots=True)
class _Question:
    """A part of a call."""

    prompts: Sequence[Prompt]
    """To be continued."""
    begun: Sequence[tuple[int, ...]] | None
    """New tokens that they have already."""
    most: int
    """New tokens of one prompt at most."""
    rule: SentRule | None
    """When an answer may stop; None: at its end."""

    def answered(self, answerer: Answerer) -> _Answers:
        """Return what an answerer says to it."""
        notes = None if self.rule is None else StopNotes(self.rule.beside(answerer))
        answers = complete(answerer, self.prompts, self.most, notes, self.begun)
        return answers, {} if notes is None else notes.stopped


_Answers = tuple[list[Completion], dict[int, int]]
"""Completions, and by place after how many tokens the rule stopped one."""


class _Helper:
    """Another process that has the model, or is about to open it."""

    def __init__(self, shared: SharedModel, engine: str, batch_tokens: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, shared, engine, batch_tokens), daemon=True
        )
        with script_left_out():
            self._process.start()
        theirs.close()
        self._open = False

    def is_open(self) -> bool:
        """Tell whether it has opened the model and lives."""
        if not self._open and self._connection.poll():
            try:
                self._open = bool(self._connection.recv())
            except (EOFError, OSError):
                return False
        return self._open and self._process.is_alive()

    def ask(self, question: _Question) -> None:
        """Send it a question."""
        # A death is noticed where the answers are waited for.
        with suppress(BrokenPipeError):
            self._connection.send(question)

    def answers(self) -> _Answers | None:
        """Wait for the answers; None if it died."""
        try:
            found: _Answers = self._connection.recv()
        except (EOFError, OSError):
            self._open = False
            return None
        return found

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()

    def close(self) -> None:
        """End it, and speak no more."""
        self.kill()
        self._connection.close()


def _serve(connection: Connection, shared: SharedModel, engine: str, batch_tokens: int) -> None:
    """Answer what comes over the connection; the body of a helper."""
    begin_process(threads=1)
    answerer = EngineAnswerer(make_engine(engine, shared.target(), batch_tokens=batch_tokens))
    try:
        connection.send(True)
        while True:
            question: _Question = connection.recv()
            connection.send(question.answered(answerer))
    except (KeyboardInterrupt, BrokenPipeError, EOFError):
        return


class DividedAnswerer(EngineAnswerer):
    """An engine whose prompts are shared out among this process and helpers that have the same model.

    Its answers are those of the engine, for what a row says does not depend on the rows beside it. Until the
    helpers have opened the model, and for a stop rule that can't be sent, this process answers alone; what a
    helper that died was asked it answers itself.
    """

    def __init__(self, answerer: EngineAnswerer, helpers: Sequence[_Helper]) -> None:
        super().__init__(answerer.engine)
        self._alone = answerer
        self.helpers = helpers
        """The other processes."""

    def complete(
        self, prompts: Sequence[Prompt], max_new_tokens: int, decided: Decided | None = None
    ) -> list[Completion]:
        """Continue each prompt greedily; see `EngineAnswerer`."""
        return self._divided(prompts, None, max_new_tokens, decided)

    def go_on(
        self,
        prompts: Sequence[Prompt],
        begun: Sequence[tuple[int, ...]],
        max_new_tokens: int,
        decided: Decided | None = None,
    ) -> list[Completion]:
        """Continue each prompt behind the new tokens that it has already."""
        return self._divided(prompts, begun, max_new_tokens, decided)

    def _divided(
        self,
        prompts: Sequence[Prompt],
        begun: Sequence[tuple[int, ...]] | None,
        most: int,
        decided: Decided | None,
    ) -> list[Completion]:
        helpers = [h for h in self.helpers if h.is_open()] if len(prompts) >= _FEWEST_PROMPTS else []
        ends = [len(prompts) * part // (len(helpers) + 1) for part in range(1, len(helpers) + 2)]
        parts = list(pairwise(ends))
        rules = [None if decided is None else sent_rule(decided, *part) for part in parts]
        if not helpers or (decided is not None and None in rules):
            return complete(self._alone, prompts, most, decided, begun)
        questions = [
            _Question(prompts[first:end], None if begun is None else begun[first:end], most, rule)
            for (first, end), rule in zip(parts, rules, strict=True)
        ]
        for helper, question in zip(helpers, questions, strict=True):
            helper.ask(question)
        own = None if begun is None else begun[: ends[0]]
        answers = complete(self._alone, prompts[: ends[0]], most, decided, own)
        for helper, question in zip(helpers, questions, strict=True):
            found, stopped = helper.answers() or question.answered(self._alone)
            if decided is not None:
                # What the rule notes here is what it would have noted.
                for place, count in stopped.items():
                    decided(len(answers) + place, found[place].token_ids[:count])
            answers += found
        return answers


@contextmanager
def dividing(answerer: EngineAnswerer, questions: int) -> Iterator[EngineAnswerer]:
    """Within, an answerer that gives the same answers by several processes, where that is worth it: many
    questions to a small model on a CPU, by an engine whose answers do not depend on what is asked beside
    them."""
    helpers = _helpers(answerer, questions)
    try:
        yield DividedAnswerer(answerer, helpers) if helpers else answerer
    finally:
        for helper in helpers:
            helper.close()


def _helpers(answerer: EngineAnswerer, questions: int) -> list[_Helper]:
    engine, count = answerer.engine, min(_MOST_HELPERS, available_processors() - 1)
    parameters = sum(weights.numel() for weights in engine.target.model.parameters())
    # A worker of a pool may not start processes.
    alone = multiprocessing.current_process().daemon or count < 1
    if alone or questions < _FEWEST_QUESTIONS or parameters > _MOST_PARAMETERS:
        return []
    if not isinstance(engine, ResumeEngine) or not keeps_no_history(engine):
        return []
    shared = shared_model(engine.target)
    return [] if shared is None else [_Helper(shared, engine.name, engine.batch_tokens) for _ in range(count)]
