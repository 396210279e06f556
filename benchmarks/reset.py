"""Does ReSet earn its row? A fitted MDAS is continued in three ways that cost the same passes of the model.

    python benchmarks/reset.py [--quick] [--attribute NAME] [--instance FOLDER] [--seeds N] [--reset-pairs N]
    [--kept FILE.jsonl] [--json PATH] [--doc PAGE]

Without `--attribute` all of city are taken. With `--kept` each attribute and seed is written to the file when
it is done, and not done again in a later call with the same instance and settings.

Each attribute is fitted by `mdas` at the middle layer; training then goes on with pairs of its own, with what
`mdas_reset` keeps of its candidates, or with the best third of that. Judged on validation pairs; no test pair
is read. A pass of a pair counts 1 and its way back 1 more. One thread.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from beyond_mdas import SPLITS, disentangled
from cases import Case, Plan, bundled_case
from measuring import environment, markdown_table, put_between_markers

from das.engine.engines.resume import ResumeEngine
from das.featurizers.subspace import Subspace
from das.methods.common.base import Problem
from das.methods.common.candidates import kept_pairs
from das.methods.common.tasks import mixed_task
from das.methods.trained.mdas import Mdas
from das.methods.trained.mdas_reset import MdasReset, MdasResetConfig, continued
from das.rejection import SUPERCHARGED
from das.threads import one_thread
from das.training.config import TrainingTask
from das.training.together import train_together
from das.training.workspace import SilentWorkspace
from ravel.common.io import append_text, canonical_json, read_jsonl, sha256_text, write_json
from ravel.common.seeds import sampled

SIZE = 32
WAYS = ("mdas", "mdas, continued", "mdas_reset", "mdas_reset, best third")


@dataclass(frozen=True)
class Found:
    """What one way came to for one attribute and seed."""

    passes: int
    """Passes after those of MDAS."""
    seconds: float
    """Processor time after that of MDAS."""
    scores: dict[str, float]
    """Disentangle per split."""


class Kept:
    """The rows of what is done, in a file; without one nothing is kept."""

    def __init__(self, path: Path | None, settings: str) -> None:
        """`settings` names the instance and settings, for those of others are passed over."""
        self._path = path
        self._settings = settings

    def rows(
        self, attribute: str, seed: int, make: Callable[[], Mapping[str, Found]]
    ) -> list[dict[str, Any]]:
        """Return the rows of an attribute and seed, made now unless they are kept."""
        head = {"settings": self._settings, "attribute": attribute, "seed": seed}
        known = [row for row in self._read() if head.items() <= row.items()]
        if {row["way"] for row in known} >= set(WAYS):
            return known
        made = [{**head, "way": way, **vars(one)} for way, one in make().items()]
        if self._path is not None:
            append_text(self._path, "".join(canonical_json(row) + "\n" for row in made))
        return made

    def _read(self) -> list[dict[str, Any]]:
        if self._path is None or not self._path.is_file():
            return []
        return [row for _, row in read_jsonl(self._path)]


def compared(
    case: Case, engine: ResumeEngine, attribute: str, seed: int, config: MdasResetConfig
) -> dict[str, Found]:
    """Return what each way came to for an attribute."""
    problem = Problem(case.instance.without_test(), attribute, case.site, SIZE, seed)
    method = MdasReset(config)
    mdas = Mdas(Mdas.config_class.from_mapping(shared_settings(config), origin="the benchmark"))
    start = mdas.fit(problem, engine, SilentWorkspace())
    assert isinstance(start, Subspace)
    found = {"mdas": Found(0, 0.0, scores_of(case, engine, attribute, start))}
    task = mixed_task(method, problem, engine)
    began = time.process_time()
    examples, said = method.candidates(problem, engine, start.basis, task.seed)
    drawing, judged = time.process_time() - began, sum(len(e.sources) * (2 + len(e.others)) for e in examples)
    third = config.model_copy(update={"kept_share": SUPERCHARGED})
    for way, settings in (("mdas_reset", config), ("mdas_reset, best third", third)):
        began = time.process_time()
        _, pairs = kept_pairs(examples, said, settings, attribute)
        # The best third is trained on for as many passes as all that was kept.
        epochs = settings.reset_epochs * (1 if settings is config else round(1 / SUPERCHARGED))
        again = replace(task, training=pairs, weights=method.weights_for(task, pairs), identity=way)
        after = gone_on(start, again, engine, settings, epochs) if pairs else start
        seconds = drawing + time.process_time() - began
        passes = judged + 2 * epochs * len(pairs)
        found[way] = Found(passes, seconds, scores_of(case, engine, attribute, after))
    began = time.process_time()
    budget = found["mdas_reset"].passes // 2
    epochs = max(1, math.ceil(budget / len(task.training)))
    pairs = sampled(list(task.training), budget // epochs, seed, "continued", attribute)
    after = gone_on(start, replace(task, training=pairs, identity="continued"), engine, config, epochs)
    seconds = time.process_time() - began
    found["mdas, continued"] = Found(
        2 * epochs * len(pairs), seconds, scores_of(case, engine, attribute, after)
    )
    return {way: found[way] for way in WAYS}


def shared_settings(config: MdasResetConfig) -> dict[str, Any]:
    """Return the settings that are MDAS's too."""
    return {name: getattr(config, name) for name in Mdas.config_class.model_fields}


def gone_on(
    start: Subspace, task: TrainingTask, engine: ResumeEngine, config: MdasResetConfig, epochs: int
) -> Any:
    """Return the subspace after more training, at the rate of the second one."""
    settings = config.model_copy(
        update={"epochs": epochs, "learning_rate": config.reset_learning_rate, "patience": epochs}
    )
    return train_together([continued(start, task, engine, SilentWorkspace(), settings)], engine)[0]


def scores_of(case: Case, engine: ResumeEngine, attribute: str, featurizer: Any) -> dict[str, float]:
    """Return disentangle per split."""
    return {
        name: disentangled(case.instance, split, engine, case.site, featurizer, attribute)
        for name, split in SPLITS.items()
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few pairs: to see that it runs")
    parser.add_argument("--attribute", action="append", help="only this attribute; repeatable")
    parser.add_argument("--instance", type=Path, help="an instance of the bundled model, else one is built")
    parser.add_argument("--seeds", type=int, default=2, help="seeds (default 2)")
    parser.add_argument("--reset-pairs", type=int, default=200, help="pairs with candidates (default 200)")
    parser.add_argument("--kept", type=Path, help="JSON Lines of what is done, to go on from")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--doc", type=Path, help="put the table into this page")
    asked = parser.parse_args(argv)
    plan = Plan(60, 24, 30, 8, 1) if asked.quick else Plan(1000, 128, 400, 8, 1, attributes=None)
    config = MdasResetConfig(reset_pairs=20 if asked.quick else asked.reset_pairs)
    rows: list[dict[str, Any]] = []
    with one_thread():
        case = bundled_case(plan, folder=asked.instance)
        engine = ResumeEngine(case.target)
        kept = Kept(asked.kept, sha256_text(f"{case.instance.fingerprint} {config.to_yaml()}")[:16])
        for seed in range(1 if asked.quick else asked.seeds):
            for attribute in asked.attribute or case.instance.attributes:
                made = partial(compared, case, engine, attribute, seed, config)
                rows += kept.rows(attribute, seed, made)
                print(*rows[-len(WAYS) :], sep="\n", flush=True)
    table = table_of(rows)
    print(table)
    if asked.json is not None:
        write_json(asked.json, {"environment": environment("cpu"), "rows": rows})
    if asked.doc is not None:
        put_between_markers(asked.doc, {"reset": table})


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    """Return the mean over attributes of each way, and in brackets the least and greatest of the seeds."""
    cells = []
    for way in WAYS:
        own = [row for row in rows if row["way"] == way]
        seeds = sorted({row["seed"] for row in own})
        parts = [[row for row in own if row["seed"] == seed] for seed in seeds]
        shown = []
        for split in SPLITS:
            means = [sum(row["scores"][split] for row in part) / len(part) for part in parts]
            shown.append(f"{sum(means) / len(means):.3f} ({min(means):.3f} to {max(means):.3f})")
        passes = sum(row["passes"] for row in own) / len(seeds)
        seconds = sum(row["seconds"] for row in own) / len(seeds)
        cells.append([way, f"{passes:,.0f}", f"{seconds:.0f}", *shown])
    return markdown_table(("way", "further passes", "seconds", *SPLITS), cells)


if __name__ == "__main__":
    main()
