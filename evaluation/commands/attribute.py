"""`ravel attribute`: which tokens of a prompt an answer hangs on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluation import api
from evaluation.commands.flags import Model, TargetFlags, command
from evaluation.commands.flags.attribution import InstanceFlags
from evaluation.commands.flags.shared import Seed
from evaluation.commands.printing import Result, keeping, print_rows, say, shown_progress
from evaluation.report.common.token_scores import (
    CARRIER_HEADERS,
    WAY_HEADERS,
    InstanceAttribution,
    ScoredPrompt,
    files_json,
)
from ravel.common.errors import SuiteError

if TYPE_CHECKING:
    from evaluation.config.target import TargetConfig


@command
def attribute(
    *,
    prompt: Annotated[str | None, typer.Argument(metavar="[PROMPT]", help="A text to continue.")] = None,
    answer: Annotated[
        str | None,
        typer.Option("--answer", help="Whose first token counts; by default what the model would say."),
    ] = None,
    entity: Annotated[
        str | None, typer.Option("--entity", help="A name in the prompt, to be marked.")
    ] = None,
    over: InstanceFlags,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Points of integrated gradients.")] = 16,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for JSON, page and figures.")] = None,
    model: Model = None,
    seed: Seed = 0,
    target: TargetFlags,
) -> Result:
    """Score the tokens of a prompt in five ways, and say how faithful the scores are.

    Over an instance it also says how often the highest score is of the entity's last token, where an
    interchange shows the fact to be, and what each site hands on.

    Example: ravel attribute "The city of Paris lies in the country of" --model bundled --entity Paris
    """
    if (prompt is None) == (over.instance is None):
        raise SuiteError(
            expected="a prompt, or --instance for those of an instance",
            came="neither" if prompt is None else "both",
            todo='write for instance ravel attribute "The city of Paris is in" --model bundled',
        )
    if over.instance is not None:
        config = api.InstanceAttributionConfig(
            split=over.split,
            prompts=over.prompts,
            site=over.site,
            steps=steps,
            seed=seed,
            batch_tokens=target.batch_tokens,
        )
        return _over_instance(over.instance, target.config(model, named_in=over.instance), config, out)
    request = api.PromptRequest(prompt or "", answer, entity)
    one = api.PromptAttributionConfig(steps=steps, seed=seed, batch_tokens=target.batch_tokens)
    with keeping("Nothing was written."), shown_progress() as progress:
        found, files = api.attribute(request, target.config(model or "bundled"), one, out, progress)
    return Result(files_json(found, list(map(str, files))), lambda: _print_prompt(found, files))


def _over_instance(
    instance: Path, target: TargetConfig, config: api.InstanceAttributionConfig, out: Path | None
) -> Result:
    with keeping("Nothing was written."), shown_progress() as progress:
        found, files = api.attribute_instance(instance, target, config, out, progress)
    return Result(files_json(found, list(map(str, files))), lambda: _print_ways(found, files))


def _print_prompt(found: ScoredPrompt, files: list[Path]) -> None:
    say(f"The answer {found.answer!r} is {found.leaning:.2f} above the mean logit.")
    print_rows(("token", *found.scores), found.cells())
    if found.entity is not None:
        last = [way for way in found.scores if found.highest(way) == found.entity[1]]
        say(f"Highest at the entity's last token: {', '.join(last) or 'none'}.")
    for path in files:
        say(str(path))


def _print_ways(found: InstanceAttribution, files: list[Path]) -> None:
    say(
        f"{found.n_prompts} prompts of {found.split}; the fact of {found.n_facts} is at {found.site}: a swap "
        "of the whole vector there brings the source's answer."
    )
    rows = [(way.name, *way.cells(), f"{way.seconds:.2f}") for way in found.ways]
    print_rows(("scored by", *WAY_HEADERS, "seconds"), rows)
    if found.chance_at_last is not None:
        say(f"A token taken blindly is the entity's last one in {found.chance_at_last:.3f} of those prompts.")
    if found.carriers:
        print_rows(CARRIER_HEADERS, [row.cells() for row in found.carriers])
    for path in files:
        say(str(path))
