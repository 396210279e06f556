"""How faithful scores of tokens are, and whether they point where a fact sits; edge scores of all sites.

    python benchmarks/token_attribution.py [--quick] [--instance FOLDER] [--prompts N] [--steps N]
    [--model NAME] [--model-instance FOLDER] [--model-prompts N] [--json PATH] [--doc PAGE] [--plots FOLDER]

Prompts are bases of validation pairs of held-out templates, as many of each attribute. The bundled model is
scored on its own instance, and so is a further `--model`, such as smollm2-135m (which must have been
fetched): on `--model-instance`, or on a small one that is built for it now, and on fewer prompts, for a
prompt costs it some 15 seconds. Intervals are 95 % over entities. One thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cases import Plan, bundled_case
from measuring import environment, markdown_table, put_between_markers

from das.models.load import BUNDLED
from das.threads import one_thread
from evaluation.config.target import TargetConfig
from evaluation.report.common.token_scores import CARRIER_HEADERS, InstanceAttribution
from evaluation.report.plots.tokens import draw_curves, draw_edges, draw_prompt
from evaluation.validity.tokens.over_instance import InstanceAttributionConfig, attribute_instance
from ravel.common.io import write_json

HEADER = (
    "model, scored by",
    "comprehensiveness",
    "sufficiency",
    "at the last token",
    "within the name",
    "ms",
)
PLAN = Plan(100, 100, 60, 8, 1, attributes=None)
QUICK = Plan(40, 24, 20, 8, 1)
BESIDE = Plan(60, 60, 30, 8, 1, attributes=("Country", "Continent", "Language"), templates=2)
"""What is built for the bundled model, to try, and for another model."""


def measured(model: str, plan: Plan, folder: Path | None, config: InstanceAttributionConfig) -> Any:
    """Return what scores of tokens come to for a model."""
    case = bundled_case(plan, folder=folder, model=model)
    found, _ = attribute_instance(case.instance, TargetConfig(model=model, engine="direct"), config)
    return found


def rows_of(model: str, found: InstanceAttribution) -> list[list[str]]:
    """Return the cells of a model's rows of the table."""
    return [
        [f"{model}, {way.name}", *way.cells(), f"{1000 * way.seconds / found.n_prompts:.1f}"]
        for way in found.ways
    ]


def carriers_table(found: Mapping[str, InstanceAttribution]) -> str:
    """Return which positions carry the source's answer, a row for each model and layer."""
    rows = [
        [f"{model}, {cells[0]}", *cells[1:]]
        for model, one in found.items()
        for cells in (row.cells() for row in one.carriers)
    ]
    return markdown_table(("model, layer", *CARRIER_HEADERS[1:]), rows)


def said(model: str, found: InstanceAttribution) -> str:
    """Return a line about the prompts of a model."""
    chance = "" if found.chance_at_last is None else f"; blindly {found.chance_at_last:.3f} at the last token"
    return (
        f"- {model}: {found.n_prompts} prompts; {found.n_facts} whose fact is at `{found.site}`{chance}. "
        "The last column is milliseconds of a processor to score a prompt."
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few prompts: to see that it runs")
    parser.add_argument("--instance", type=Path, help="an instance of the bundled model, else one is built")
    parser.add_argument("--prompts", type=int, default=60, help="prompts of the bundled model (default 60)")
    parser.add_argument("--model", help="a further model")
    parser.add_argument("--model-instance", type=Path, help="its instance, else a small one is built")
    parser.add_argument("--model-prompts", type=int, default=12, help="its prompts (default 12)")
    parser.add_argument("--steps", type=int, default=16, help="points of integrated gradients (default 16)")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--doc", type=Path, help="put the table into this page")
    parser.add_argument("--plots", type=Path, help="draw the bundled model's figures there")
    asked = parser.parse_args(argv)
    prompts, steps = (12, 4) if asked.quick else (asked.prompts, asked.steps)
    config = InstanceAttributionConfig(prompts=prompts, steps=steps)
    with one_thread():
        plan = QUICK if asked.quick else PLAN
        found = {BUNDLED: measured(BUNDLED, plan, asked.instance, config)}
        if asked.model is not None:
            fewer = config.model_copy(update={"prompts": min(prompts, asked.model_prompts)})
            found[asked.model] = measured(asked.model, BESIDE, asked.model_instance, fewer)
    rows = [row for model, one in found.items() for row in rows_of(model, one)]
    lines = "\n".join(said(model, one) for model, one in found.items())
    table = f"{markdown_table(HEADER, rows)}\n{lines}\n"
    print(table, carriers_table(found), sep="\n")
    if asked.json is not None:
        values = {model: one.to_json() for model, one in found.items()}
        write_json(asked.json, {"environment": environment("cpu"), "models": values})
    if asked.plots is not None:
        draw_prompt(found[BUNDLED].examples[0], asked.plots / "token_attribution_prompt")
        draw_curves(found[BUNDLED], asked.plots / "token_attribution_faithfulness")
        draw_edges(found[BUNDLED], asked.plots / "token_attribution_edges")
    if asked.doc is not None:
        put_between_markers(asked.doc, {"token-attribution": table, "answer-carriers": carriers_table(found)})


if __name__ == "__main__":
    main()
