"""Scores of the tokens of one prompt; it knows no instance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import PositiveInt

from das.attribution.faithfulness import faithfulness
from das.attribution.reading import AnswerReader, AskedRow, masking_id
from das.attribution.scores import SCORE_NAMES, ScoreName, TokenScoreConfig, token_scores
from das.engine.base.batch import Encoded, PromptEncoder
from das.models.base import TargetModel
from evaluation.config.target import TargetConfig
from evaluation.report.common.token_scores import ScoredPrompt
from evaluation.report.token_attribution import write_prompt
from ravel.common.errors import SuiteError
from ravel.common.progress import Counted, Progress, silent


class PromptAttributionConfig(TokenScoreConfig):
    """How the tokens of prompts are scored."""

    ways: tuple[ScoreName, ...] = SCORE_NAMES
    """Ways of scoring."""
    batch_tokens: PositiveInt = 8192
    """Tokens of one pass at most."""


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """One prompt, as a user asks for it."""

    text: str
    """The prompt."""
    answer: str | None = None
    """Whose first token is looked at; None: what the model would say. Where neither the prompt ends nor the
    answer begins with a blank, one is put between."""
    entity: str | None = None
    """A name in the prompt, whose last mention counts; None: none is known."""


def attribute(
    request: PromptRequest,
    target: TargetConfig,
    config: PromptAttributionConfig | None = None,
    out: Path | None = None,
    progress: Progress = silent,
) -> tuple[ScoredPrompt, list[Path]]:
    """Score the tokens of a prompt in each way, with what masking says of the scores; with a folder `out`
    write `attribution.json`, a page and a figure there, whose paths are returned too.

    Raises SuiteError for a model that can't be loaded, an empty prompt or one that is too long, an answer
    without a token, and an entity that is not in the prompt.
    """
    config = config or PromptAttributionConfig()
    progress(Counted("model", 0, 1))
    loaded = target.load()
    progress(Counted("model", 1, 1))
    reader = AnswerReader(loaded, config.batch_tokens)
    encoder = PromptEncoder(loaded.tokenizer)
    encoded = encoder.encode([request.text])[0]
    front = front_of(encoded)
    if front == len(encoded.ids):
        raise SuiteError(
            expected="a prompt of at least one token of its own",
            came=repr(request.text),
            todo="write a prompt",
        )
    row = AskedRow(encoded.ids, _answer(request, reader, encoder, encoded), front)
    entity = None if request.entity is None else entity_places(encoded, _mention(request))
    (found,) = scored_prompts(reader, [(request.text, encoded, row, entity)], config)
    return found, [] if out is None else write_prompt(found, out)


def scored_prompts(
    reader: AnswerReader,
    asked: Sequence[tuple[str, Encoded, AskedRow, tuple[int, int] | None]],
    config: PromptAttributionConfig,
) -> list[ScoredPrompt]:
    """Return prompts (text, tokens, row, places of the entity) with their scores."""
    rows = [row for _, _, row, _ in asked]
    masked = masking_id(reader.target.tokenizer)
    scores = {way: token_scores(reader, rows, way, config) for way in config.ways}
    tests = {way: faithfulness(reader, rows, found, masked) for way, found in scores.items()}
    leanings = reader.leanings(rows).tolist()
    return [
        ScoredPrompt(
            text=text,
            tokens=token_texts(reader.target, text, encoded),
            answer=reader.target.tokenizer.decode([row.answer]),
            leaning=leanings[i],
            entity=entity,
            scores={way: tuple(found[i].tolist()) for way, found in scores.items()},
            comprehensiveness={
                way: t.comprehensiveness if (t := of[i]) else None for way, of in tests.items()
            },
            sufficiency={way: t.sufficiency if (t := of[i]) else None for way, of in tests.items()},
        )
        for i, (text, encoded, row, entity) in enumerate(asked)
    ]


def front_of(encoded: Encoded) -> int:
    """Return how many leading tokens the tokenizer puts there."""
    own = next((i for i, span in enumerate(encoded.offsets) if span != (0, 0)), len(encoded.offsets))
    return max(own, encoded.own_start)


def entity_places(encoded: Encoded, span: tuple[int, int]) -> tuple[int, int]:
    """Return the places of the first and the last token that have a character of a span."""
    start, end = span
    places = [i for i, (a, b) in enumerate(encoded.offsets) if a < end and b > start]
    return places[0], places[-1]


def token_texts(target: TargetModel, text: str, encoded: Encoded) -> tuple[str, ...]:
    """Return what each token says, of those that the tokenizer puts in front their names."""
    names: list[str] = target.tokenizer.convert_ids_to_tokens(list(encoded.ids))
    both = zip(encoded.offsets, names, strict=True)
    return tuple(text[start:end] if start < end else name for (start, end), name in both)


def _mention(request: PromptRequest) -> tuple[int, int]:
    name = request.entity or ""
    start = request.text.rfind(name) if name else -1
    if start < 0:
        raise SuiteError(
            expected="an entity that stands in the prompt",
            came=f"{name!r} and {request.text!r}",
            todo="write --entity as in the prompt",
        )
    return start, start + len(name)


def _answer(request: PromptRequest, reader: AnswerReader, encoder: PromptEncoder, encoded: Encoded) -> int:
    """Return the token of the answer that comes after the prompt."""
    if request.answer is None:
        return reader.likeliest([encoded.ids])[0]
    if not request.answer.strip():
        raise SuiteError(
            expected="an answer of at least one token",
            came=repr(request.answer),
            todo="give --answer a word, or leave it out for what the model would say",
        )
    parted = request.text[-1:].isspace() or request.answer[:1].isspace()
    text = request.answer if parted else f" {request.answer}"
    # Beside the prompt, for some tokenizers begin a text otherwise than they go on with one.
    both, n = encoder.encode([request.text + text])[0].ids, len(encoded.ids)
    if len(both) > n and both[:n] == encoded.ids:
        return both[n]
    ids: list[int] = reader.target.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids[0]
