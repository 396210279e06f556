"""What lies where in the folder of a run, for its documentation and for the check that nothing else does."""

from __future__ import annotations

import re

LAYOUT: tuple[tuple[str, str], ...] = (
    ("config.yaml", "the resolved suite"),
    ("environment.json", "fingerprints, and every environment that worked on the folder"),
    ("instance/", "the instance, as ravel build writes it"),
    ("instance/manifest.json", ""),
    ("instance/prompts.jsonl", ""),
    ("instance/pairs/<split>.jsonl", ""),
    ("instance.partial/", "the model's answers, only while the instance is being built"),
    ("cells/<id>/", "one fit"),
    ("cells/<id>/cell.json", "what the cell is; written last"),
    ("cells/<id>/featurizer.safetensors", ""),
    ("cells/<id>/featurizer.json", ""),
    ("cells/<id>/train_log.jsonl", ""),
    ("cells/<id>/outcomes/<split>.jsonl", ""),
    ("cells/<id>/diagnostics.json", "only if ravel diagnose was called on the run"),
    ("cells/<id>/checkpoint/", "only while the cell is being fitted"),
    (
        "controls/<control>/",
        "cells of controls, if any, as above, their floors, and diversity ratios of twins",
    ),
    ("shared/", "what several fits have in common: collected vectors, autoencoders, rankings"),
    ("scores.jsonl", "one record per cell, target attribute and split"),
    ("averages.jsonl", "chosen points, averaged"),
    ("comparisons.jsonl", "paired differences between methods"),
    ("balanced.jsonl", "averages with every expected answer weighing the same"),
    ("breakdowns.jsonl", "isolate where a value stays the same and where it changes"),
    ("dependence.jsonl", "how well one attribute tells another"),
    ("values.jsonl", "how uneven and how new the values of attributes are"),
    ("refusals.jsonl", "methods that had no answer for an attribute, with the reason"),
    ("failures.jsonl", "cells that failed each time they were tried; only if there are any"),
    ("control_checks.jsonl", "controls that must fail, each score against its floor; only with controls"),
    (
        "tables/",
        "main, attributes, kinds, balanced, dependence, each as .md, .csv, .parquet, .tex, .html; "
        "controls, if there are any, necessity, if it was measured, and seeds, if there are several",
    ),
    (
        "plots/",
        "figures as .png and .svg (`ravel plot` adds .pdf), captions as .txt, numbers behind heat maps",
    ),
    ("report.html", "one page with all of it, which opens offline"),
    (".lock", "only while a process works on the folder, and after a kill"),
)
"""Paths in the folder with what they hold; a name that is not the same in every run is in angles."""
_OPEN = ("cells/<id>/checkpoint/", "controls/<control>/", "shared/", "tables/", "plots/")
"""Folders of which the files are not listed."""


def layout_lines() -> list[str]:
    """Return the folder as a drawing, a line for each path, with what it holds."""
    lines, above = [], ""
    for path, meaning in LAYOUT:
        above = above if above and path.startswith(above) else ""
        name = f"  {path.removeprefix(above)}" if above else path
        lines.append(f"{name:<23}{meaning}".rstrip() if len(name) < 23 else f"{name} {meaning}".rstrip())
        if path.endswith("/") and not above:
            above = path
    return lines


def is_laid_out(path: str) -> bool:
    """Tell whether a file may lie at a path, `/` between its parts, in the folder of a run."""
    return any(_pattern(name).match(path) for name, _ in LAYOUT if not name.endswith("/") or name in _OPEN)


def _pattern(name: str) -> re.Pattern[str]:
    parts = re.split(r"<\w+>", name)
    return re.compile("[^/]+".join(map(re.escape, parts)) + ("" if name.endswith("/") else r"\Z"))
