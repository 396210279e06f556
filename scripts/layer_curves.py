"""Plot where the bundled model keeps its facts: full_vector's cause and mdas's disentangle over the layers.

    python scripts/layer_curves.py --out docs/figures

Scores are those of the validation split of held-out templates. Writes `layers_<type>.{png,svg}` and the
numbers behind them, `layers_<type>.jsonl`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from das.engine import EngineAnswerer
from das.sites import Site
from evaluation.plan import MethodSpec, SuiteConfig
from evaluation.plots import LayerPoint, plot_layers
from evaluation.records import ScoreRecord
from evaluation.suite import run_suite_on
from evaluation.target import TargetConfig
from ravel.build import BuildConfig, build_instance
from ravel.common.io import write_jsonl
from ravel.tables import read_bundled


def curves(entity_type: str, size: int, scratch: Path) -> list[ScoreRecord]:
    """Score full_vector and mdas at every layer and return the validation records."""
    engine = TargetConfig().open()
    tables = read_bundled(entity_type)
    config = BuildConfig(shortlist=400, train_pairs=1500, evaluation_pairs=200)
    instance = build_instance(tables, EngineAnswerer(engine), config)
    suite = SuiteConfig(
        instance="in memory",
        methods=(MethodSpec(name="mdas", config={"epochs": 2}), MethodSpec(name="full_vector")),
        floors=False,
        sites=tuple(f"block_output.{layer}@entity_last" for layer in range(engine.target.n_layers)),
        sizes=(size,),
        generalisations=("context",),
    )
    summary = run_suite_on(suite, scratch / entity_type, instance, engine)
    return [record for record in summary.scores if record.partition == "val"]


def points(records: list[ScoreRecord]) -> list[LayerPoint]:
    """Turn records into a curve per attribute for full_vector's cause, and one for mdas's disentangle."""
    made = [
        LayerPoint(f"full_vector cause: {r.attribute}", Site.parse(r.site).layer, r.cause, r.cause_interval)
        for r in records
        if r.method == "full_vector" and r.cause is not None
    ]
    scores: dict[int, list[float]] = {}
    for record in records:
        if record.method == "mdas" and record.disentangle is not None:
            scores.setdefault(Site.parse(record.site).layer, []).append(record.disentangle)
    made += [LayerPoint("mdas disentangle (mean)", layer, sum(v) / len(v)) for layer, v in scores.items()]
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--types", nargs="+", default=["city", "invented_person"])
    arguments = parser.parse_args()
    for entity_type in arguments.types:
        with tempfile.TemporaryDirectory() as scratch:
            records = curves(entity_type, arguments.size, Path(scratch))
        rows: list[dict[str, Any]] = [record.to_json() for record in records]
        write_jsonl(arguments.out / f"layers_{entity_type}.jsonl", rows)
        stem = arguments.out / f"layers_{entity_type}"
        for path in plot_layers(
            points(records), stem, title=entity_type, score="score on held-out templates (val)"
        ):
            print(path)


if __name__ == "__main__":
    main()
