"""A small finished run made by hand, with hostile names in it, for tests of the page and of cards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from outcome_world import average_record, score_record
from record_pairs import pair_of

from evaluation.records.measured import Measured
from evaluation.records.run_folder import RunFolder
from evaluation.records.scores import SCORE_SCHEMA_VERSION, ComparisonRecord, Outcome
from ravel.asking.prompts import fill
from ravel.common.io import write_json, write_jsonl, write_text
from ravel.instance import Instance, PromptRecord
from ravel.terms.schema import Generalisation, InterchangePair, Partition, Template

HOSTILE_MODEL = '"><script>window.hacked = 1</script>'
HOSTILE_ENTITY = "</script><script>window.hacked = 2</script>"
HOSTILE_LABEL = " <img src=x onerror='window.hacked = 3'><!--"
HOSTILE_METHOD = "a<img src=x onerror='window.hacked=4'>&amp;"
ATTRIBUTES = ("Country", "Language", "Zone <b>'\"")
ENTITIES = ("Ulm 🏰", "Oslo", "Lima", HOSTILE_ENTITY)
METHODS = ("mdas", "das", HOSTILE_METHOD, "no_op", "full_vector")
SPLITS: tuple[tuple[Generalisation, Partition], ...] = (
    ("context", "test"),
    ("entity", "test"),
    ("context", "val"),
)
SCORES = {"mdas": (0.75, 0.9), "das": (1.0, 0.25), HOSTILE_METHOD: (0.7, 0.9), "no_op": (0.0, 1.0)}
SITE = "block_output.1@entity_last"
SVG = """<?xml version="1.0"?><svg xmlns:xlink="http://www.w3.org/1999/xlink" width="90pt" viewBox="0 0 90 40"
 xmlns="http://www.w3.org/2000/svg"><metadata>https://elsewhere.example</metadata>
 <style>*{display:none}</style><defs><clipPath id="c"><path id="p" d="M 0 0 L 90 40"/></clipPath></defs>
 <script>window.hacked = 5</script><g id="g" clip-path="url(#c)" onclick="window.hacked = 6">
 <use xlink:href="#p" style="stroke: #000"/><use xlink:href="https://elsewhere.example/x.svg#p"/>
 <image xlink:href="https://elsewhere.example/x.png"/><rect style="fill: url(https://elsewhere.example)"/>
 <text>cause &lt; 1</text><foreignObject><b>no</b></foreignObject></g></svg>"""


@dataclass(frozen=True)
class Answer:
    """Whether a method gives the source's answer, by a rule that needs no chance."""

    method: str
    target: str

    def of(self, pair: InterchangePair, number: int) -> Outcome:
        cause, kept = SCORES.get(self.method, (1.0, 0.0))
        asked = pair.attribute == self.target
        share = (number * 7 % 20) / 20
        swapped = share < cause if asked else share >= kept
        unchanged = not swapped and (not asked or self.method == "no_op")
        return Outcome.of(pair, said_swapped=swapped, said_unchanged=unchanged)


def make_instance() -> Instance:
    """Three attributes, four entities, a pair for each two of them in each split."""
    templates = [Template(f"{a}: line\nof %s is {n}", a, "train") for a in ATTRIBUTES for n in range(2)]
    records = {}
    for t, template in enumerate(templates):
        for e, entity in enumerate(ENTITIES):
            label = HOSTILE_LABEL if (t, e) == (0, 1) else f" {template.attribute} {e}"
            record = PromptRecord(f"t{t}-e{e}", fill(template, entity), label, (e + 1,), True)
            records[record.prompt_id] = record
    splits = ["train", *(f"{g}_{p}" for g, p in SPLITS)]
    return Instance.from_parts(
        entity_type="city",
        model_name=HOSTILE_MODEL,
        model_fingerprint="f" * 64,
        prompts=records.values(),
        pairs={split: _pairs(split, records, len(templates)) for split in splits},
        attribute_order=ATTRIBUTES,
        config={"train_pairs": 10, "match": "strict"},
        entities={"train": list(ENTITIES)},
    )


def _pairs(split: str, records: dict[str, PromptRecord], n_templates: int) -> list[InterchangePair]:
    pairs = []
    for t in range(n_templates):
        for b in range(len(ENTITIES)):
            for s in range(len(ENTITIES)):
                if b == s:
                    continue
                base, swapped = records[f"t{t}-e{b}"], records[f"t{t}-e{s}"]
                source = records[f"t{(t + b) % n_templates}-e{s}"]
                pairs.append(pair_of(f"{split}-{len(pairs):06d}", base, source, swapped))
    return pairs


def make_run(folder: Path) -> Path:
    """Write the run; its averages are made up, its outcomes follow `Answer`."""
    run, instance = RunFolder(folder), make_instance()
    instance.save(run.instance)
    write_text(run.config, f"instance: x\nmodel: {json.dumps(HOSTILE_MODEL)}\n")
    write_json(run.environment, {"environments": [{"python": "3", "note": "</pre><script>"}]})
    write_text(run.plots / "cause_isolate.svg", SVG)
    write_text(run.plots / "layers_disentangle.svg", SVG)
    scores, averages = [], []
    for method in METHODS:
        cause, isolate = SCORES.get(method, (1.0, 0.0))
        values = {"cause": cause, "isolate": isolate, "disentangle": (cause + isolate) / 2}
        middle = values["disentangle"]
        common = {"method": method, "model": HOSTILE_MODEL, **values}
        common["disentangle_interval"] = (max(middle - 0.03, 0.0), min(middle + 0.03, 1.0))
        for number, attribute in enumerate(ATTRIBUTES):
            cell = f"{METHODS.index(method)}{number}".rjust(16, "0")
            _write_cell(run, instance, cell, method, attribute)
            for generalisation, partition in SPLITS:
                split = {"generalisation": generalisation, "partition": partition}
                scores.append(
                    score_record(**common, **split, cell=cell, attribute=attribute, site=SITE, chosen=True)
                )
                averages.append(average_record(**common, **split, scope="attribute", attributes=(attribute,)))
        averages += [
            average_record(**common, generalisation=g, partition=p, attributes=ATTRIBUTES) for g, p in SPLITS
        ]
    write_jsonl(run.scores, (record.to_json() for record in scores))
    write_jsonl(run.averages, (record.to_json() for record in averages))
    write_jsonl(run.comparisons, (record.to_json() for record in make_comparisons()))
    refusal = {"method": "lda", "attribute": ATTRIBUTES[2], "reason": "expected classes; came <none>"}
    write_jsonl(folder / "refusals.jsonl", [refusal])
    return folder


def _write_cell(run: RunFolder, instance: Instance, cell: str, method: str, attribute: str) -> None:
    for generalisation, partition in SPLITS:
        split = f"{generalisation}_{partition}"
        answer = Answer(method, attribute)
        outcomes = [answer.of(pair, number) for number, pair in enumerate(instance.pairs(split))]
        run.cell(cell).write_outcomes(split, outcomes)


def make_comparisons() -> list[ComparisonRecord]:
    """The best is `mdas` (0.825); the hostile method is tied with it, `das` is not."""
    rows = [
        ("das", "mdas", -0.2, 0.001),
        (HOSTILE_METHOD, "mdas", -0.025, 0.4),
        ("mdas", "no_op", 0.325, 0.0005),
        ("das", "no_op", 0.125, 0.01),
    ]
    return [
        ComparisonRecord(
            schema_version=SCORE_SCHEMA_VERSION,
            first=first,
            second=second,
            entity_type="city",
            model=HOSTILE_MODEL,
            attributes=ATTRIBUTES,
            generalisation=generalisation,
            partition="test",
            measures={
                "cause": Measured(None),
                "isolate": Measured(None),
                "disentangle": Measured(difference, (difference - 0.03, difference + 0.03)),
            },
            p=p / 2,
            p_adjusted=p,
        )
        for generalisation in ("context", "entity")
        for first, second, difference, p in rows
    ]
