"""Whether answers that prefer sharp tokens are right more often, with alpha and layer chosen on validation.

    python benchmarks/sharp_decoding.py [--quick] [--model NAME] [--entity-type TYPE] [--entities N]
        [--json PATH] [--doc PAGE]

Training templates are asked about validation entities at every alpha and layer; the best pair of both is
then held against greedy answers about test entities, whose difference has a 95 % interval over entities that
are drawn again. One thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measuring import environment, markdown_table, put_between_markers

from das.diagnostics.sharp_decoding import SharpAnswerer, SharpDecoding
from das.engine import make_engine
from das.models.base import TargetModel
from das.models.load import BUNDLED, load_target
from das.threads import one_thread
from evaluation.scoring.auroc import percentile_interval
from evaluation.suite.execution.decoding import Questions, questions_of, tried_decodings
from ravel.asking.knowledge import Questioner, askable
from ravel.building.config import BuildConfig
from ravel.common.io import write_json
from ravel.common.seeds import numpy_stream
from ravel.facts.tables import Tables, read_bundled

NEW_TOKENS, RESAMPLES = 6, 1000


def verdicts(target: TargetModel, tables: Tables, asked: Questions, how: SharpDecoding) -> np.ndarray:
    """Return whether the answer to each askable question is right, bool [n], entity by entity."""
    answerer = SharpAnswerer(make_engine("resume", target), how)
    questioner = Questioner(tables.entity_type, answerer, max_new_tokens=NEW_TOKENS, mode="strict")
    answers = questioner.ask(*asked, stop="judged")
    return answers.right.T[answers.asked.T]


def measured(target: TargetModel, tables: Tables, attribute: str, entities: int) -> dict[str, Any]:
    """Choose on validation entities and compare on test entities."""
    config = BuildConfig(attributes=(attribute,))
    val, test = (questions_of(tables, config, name, entities) for name in ("val", "test"))
    tried = tried_decodings(target.n_layers)
    shares = {how: float(verdicts(target, tables, val, how).mean()) for how in tried}
    best = max(tried[1:], key=shares.__getitem__)
    plain, sharp = (verdicts(target, tables, test, how) for how in (tried[0], best))
    places = np.nonzero(askable(*test).T)[0]
    stream, n = numpy_stream(0, "sharp decoding", attribute), int(places.max()) + 1
    gains = sharp.astype(float) - plain
    draws = []
    for _ in range(RESAMPLES):
        weights = np.bincount(stream.integers(n, size=n), minlength=n)[places]
        draws.append(float(weights @ gains / weights.sum()))
    return {
        "attribute": attribute,
        "n": len(plain),
        "layer": best.layer,
        "alpha": best.alpha,
        "validation": {
            "greedy": shares[tried[0]],
            "sharp": shares[best],
        },
        "greedy": float(plain.mean()),
        "sharp": float(sharp.mean()),
        "gain": float(gains.mean()),
        "interval": percentile_interval(np.array(draws)),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few entities: to see that it runs")
    parser.add_argument("--model", default=BUNDLED, help="as for `load_target`")
    parser.add_argument("--entity-type", default="city", help="as in `ravel data list`")
    parser.add_argument("--entities", type=int, default=100, help="of each partition at most")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--doc", type=Path, help="put the table into this page")
    asked = parser.parse_args(argv)
    tables = read_bundled(asked.entity_type)
    with one_thread():
        target = load_target(asked.model)
        entities = 8 if asked.quick else asked.entities
        rows = [measured(target, tables, attribute, entities) for attribute in tables.attributes()]
    table = table_of(rows)
    print(table)
    if asked.json is not None:
        write_json(asked.json, {"environment": environment("cpu"), "rows": rows})
    if asked.doc is not None:
        put_between_markers(asked.doc, {"sharp-decoding": table})


def table_of(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of all attributes."""
    cells = []
    for row in rows:
        low, high = row["interval"]
        cells.append(
            [
                row["attribute"],
                str(row["n"]),
                f"{row['layer']}, {row['alpha']:g}",
                *(f"{row['validation'][name]:.3f}" for name in ("greedy", "sharp")),
                *(f"{row[name]:.3f}" for name in ("greedy", "sharp")),
                f"{row['gain']:+.3f} ({low:+.3f} to {high:+.3f})" if low < high else "no verdict differs",
            ]
        )
    header = ("attribute", "questions", "layer, alpha", "val greedy", "val sharp", "greedy", "sharp", "gain")
    return markdown_table(header, cells)


if __name__ == "__main__":
    main()
