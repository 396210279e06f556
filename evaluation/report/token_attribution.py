"""Token scores as files: JSON, figures, and a page that shades each prompt's tokens; it scores nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.report.common.templates import filled, page_policy
from evaluation.report.common.token_scores import InstanceAttribution, ScoredPrompt, files_json
from evaluation.report.plots.tokens import draw_curves, draw_edges, draw_prompt, shares_of_largest
from ravel.common.io import make_folder, write_json, write_text

_PACKAGE = "evaluation.report.page"
_HIGH, _LOW = "84, 39, 143", "230, 97, 1"
"""Red, green, blue of what speaks for the answer and of what speaks against it."""
_STRONGEST = 0.55


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    """What it says."""
    score: float
    """Its score."""
    colour: str
    """What it stands on."""
    named: bool
    """Whether it is of the entity's name."""


@dataclass(frozen=True, slots=True)
class _Line:
    way: str
    """How tokens were scored."""
    tokens: tuple[_Token, ...]
    """The prompt's tokens."""
    comprehensiveness: float | None
    """What is lost without the highest scores."""
    sufficiency: float | None
    """What is lost with the highest alone."""


def write_prompt(found: ScoredPrompt, out: Path) -> list[Path]:
    """Write a prompt's scores as `attribution.json`, `prompt.html` and a figure; return the paths."""
    make_folder(out)
    figures = draw_prompt(found, out / "prompt")
    page = out / "prompt.html"
    write_text(page, prompt_page([found]))
    return _with_json(found, out, [page, *figures])


def write_instance(found: InstanceAttribution, out: Path) -> list[Path]:
    """Write what was found as `attribution.json`, a page of the first prompts, and figures of what masking
    loses and of edge scores; return the paths."""
    make_folder(out)
    page = out / "prompts.html"
    write_text(page, prompt_page(found.examples))
    figures = [
        *draw_prompt(found.examples[0], out / "prompt"),
        *draw_curves(found, out / "faithfulness"),
        *draw_edges(found, out / "edges"),
    ]
    return _with_json(found, out, [page, *figures])


def prompt_page(prompts: Sequence[ScoredPrompt]) -> str:
    """Return a page, whole in itself, that shades the tokens of prompts by their scores."""
    blocks = [(prompt, [_line(prompt, way) for way in prompt.scores]) for prompt in prompts]
    return filled(_PACKAGE, "tokens.html", {"policy": page_policy(""), "blocks": blocks})


def _line(prompt: ScoredPrompt, way: str) -> _Line:
    first, last = prompt.entity or (-1, -1)
    shares = shares_of_largest(prompt.scores[way])
    each = enumerate(zip(prompt.tokens, prompt.scores[way], shares, strict=True))
    tokens = tuple(
        _Token(text, score, _colour(share), first <= place <= last) for place, (text, score, share) in each
    )
    return _Line(way.replace("_", " "), tokens, prompt.comprehensiveness[way], prompt.sufficiency[way])


def _colour(share: float) -> str:
    return f"rgba({_HIGH if share >= 0 else _LOW}, {_STRONGEST * abs(share):.3f})"


def _with_json(found: ScoredPrompt | InstanceAttribution, out: Path, files: list[Path]) -> list[Path]:
    paths = [out / "attribution.json", *files]
    write_json(paths[0], files_json(found, [path.name for path in paths]))
    return paths
