"""Judging agrees with a slow plain judge and with greedy generation, and asks about each pair once."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from record_pairs import pair_of
from torch import Tensor

from das.engine import DirectEngine
from das.engine.base.protocol import AnswerPair, ForcedPair
from das.engine.engines.base_engine import BaseEngine
from das.featurizers.base import Featurizer
from das.featurizers.masked import MaskedBasis
from das.models.base import TargetModel
from das.sites import Site
from evaluation.judging.judge import judge
from evaluation.scoring.interchange.metrics import scores
from ravel.common.errors import SuiteError
from ravel.instance import Instance, PromptRecord
from ravel.terms.schema import Prompt

VOCABULARY = 7
SPLIT = "context_val"
SITE = Site(0)
Ids = tuple[int, ...]


class Speaker(BaseEngine):
    """An engine that says a fixed output for every (base, source) and counts the choices it was given."""

    name = "speaker"

    def __init__(self, outputs: dict[tuple[str, str], Ids]) -> None:
        self.outputs = outputs
        self.choices: list[int] = []
        self.target: Any = SimpleNamespace(device=torch.device("cpu"))

    def collect(self, prompts: Any, sites: Any) -> Any:
        raise NotImplementedError

    def complete(self, prompts: Any, max_new_tokens: int, decided: Any = None) -> Any:
        raise NotImplementedError

    def tokens_after(self, pairs: Any, site: Site) -> Any:
        raise NotImplementedError

    def predicts(
        self, choices: Sequence[AnswerPair], site: Site, featurizer: Featurizer | None
    ) -> list[tuple[bool, bool]]:
        self.choices.append(len(choices))
        return super().predicts(choices, site, featurizer)

    def interchange_logits(
        self, pairs: Sequence[ForcedPair], site: Site, featurizer: Featurizer | None
    ) -> Tensor:
        logits = torch.zeros(len(pairs), max(len(p.label_ids) for p in pairs), VOCABULARY)
        for row, pair in enumerate(pairs):
            said = self.outputs[pair.base.text, pair.source.text]
            for j in range(len(pair.label_ids)):
                # Off the output's own path the model says token 0, which is in no label.
                on_path = pair.label_ids[:j] == said[:j] and j < len(said)
                logits[row, j, said[j] if on_path else 0] = 1.0
        return logits


def record(prompt_id: str, ids: Ids) -> PromptRecord:
    template, entity = "%s is in", prompt_id
    prompt = Prompt(f"{entity} is in", template, entity, "A", (0, len(entity)))
    return PromptRecord(prompt_id, prompt, f"label {ids}", ids, None)


def instance_of(labels: Sequence[tuple[Ids, Ids]]) -> Instance:
    """Pair i has the base `b<i>` and the source `s<i>`, with these label ids."""
    prompts, pairs = [], []
    for i, (unchanged, swapped) in enumerate(labels):
        base, source = record(f"b{i}", unchanged), record(f"s{i}", swapped)
        prompts += [base, source]
        pairs.append(pair_of(f"p{i}", base, source))
    return Instance.from_parts(
        entity_type="toy", model_name="toy", model_fingerprint="toy", prompts=prompts, pairs={SPLIT: pairs}
    )


def verdicts(cases: Sequence[tuple[Ids, Ids, Ids]], label_tokens: int = 3) -> list[str]:
    """Judge (unchanged, swapped, output) triples; each verdict is `swapped`, `unchanged` or `neither`."""
    speaker = Speaker({(f"b{i} is in", f"s{i} is in"): said for i, (_, _, said) in enumerate(cases)})
    instance = instance_of([(u, s) for u, s, _ in cases])
    outcomes = judge(instance, SPLIT, speaker, SITE, None, label_tokens=label_tokens)
    assert [o.pair_id for o in outcomes] == [f"p{i}" for i in range(len(cases))]
    assert not any(o.said_swapped and o.said_unchanged for o in outcomes)
    names = [("unchanged" if o.said_unchanged else "neither", "swapped") for o in outcomes]
    return [pair[o.said_swapped] for o, pair in zip(outcomes, names, strict=True)]


@pytest.mark.parametrize(
    ("unchanged", "swapped", "output", "verdict"),
    [
        ((1,), (2,), (1,), "unchanged"),
        ((1,), (2,), (2,), "swapped"),
        ((1,), (2,), (3,), "neither"),
        ((1, 2), (1, 3), (1, 3, 5), "swapped"),
        ((1, 2), (1, 3), (1, 2, 5), "unchanged"),
        ((1, 2), (1, 3), (1, 4), "neither"),
        ((1, 2, 3), (4, 5, 6), (4, 5, 1), "neither"),
        ((1, 2, 3), (4, 5, 6), (4, 5, 6), "swapped"),
        # One answer begins with the other: the longer one that matches was said.
        ((1,), (1, 2), (1, 3), "unchanged"),
        ((1,), (1, 2), (1, 2), "swapped"),
        ((1, 2), (1,), (1, 2), "unchanged"),
        ((1, 2), (1,), (1, 3), "swapped"),
        # Only the first three tokens count ...
        ((1, 2, 3, 4), (5,), (1, 2, 3, 6), "unchanged"),
        # ... unless the answers part later.
        ((1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 3, 5), "swapped"),
        ((1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 3, 6), "neither"),
    ],
)
def test_verdicts_by_hand(unchanged: Ids, swapped: Ids, output: Ids, verdict: str) -> None:
    assert verdicts([(unchanged, swapped, output)]) == [verdict]


def plain_verdict(unchanged: Ids, swapped: Ids, output: Ids, label_tokens: int) -> str:
    """What the docstring of `judge` says, on the output itself."""
    part = next((i for i, (a, b) in enumerate(zip(unchanged, swapped, strict=False)) if a != b), None)
    n = max(label_tokens, (min(len(unchanged), len(swapped)) if part is None else part) + 1)
    said = [
        (len(ids[:n]), name)
        for name, ids in (("unchanged", unchanged), ("swapped", swapped))
        if output[: len(ids[:n])] == ids[:n]
    ]
    return max(said)[1] if said else "neither"


@pytest.mark.parametrize("label_tokens", [1, 2, 3])
@pytest.mark.parametrize("swaps", [0.1, 0.9])
def test_any_labels_and_outputs_are_judged_as_by_the_plain_rule(label_tokens: int, swaps: float) -> None:
    stream = random.Random(label_tokens)
    cases = []
    while len(cases) < 300:
        unchanged, swapped = ((tuple(stream.choices((1, 2), k=stream.randint(1, 4)))) for _ in range(2))
        if unchanged != swapped:
            said = swapped if stream.random() < swaps else unchanged
            tail = tuple(stream.choices((1, 2, 3), k=5))
            cases.append((unchanged, swapped, (said + tail)[stream.random() < 0.1 :]))
    assert verdicts(cases, label_tokens) == [plain_verdict(*case, label_tokens) for case in cases]


def test_every_pair_is_asked_about_once_and_progress_ends_at_their_number() -> None:
    labels = [((1, 2), (3, 4))] * 2500
    speaker = Speaker({(f"b{i} is in", f"s{i} is in"): (3, 4) for i in range(len(labels))})
    seen: list[tuple[int, int]] = []
    judge(
        instance_of(labels),
        SPLIT,
        speaker,
        SITE,
        None,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert speaker.choices == [1024, 1024, 452]
    assert seen == [(1024, 2500), (2048, 2500), (2500, 2500)]


def test_an_engine_is_asked_for_the_first_tokens_only_more_where_answers_part_later() -> None:
    asked: list[AnswerPair] = []

    class Noting(Speaker):
        def predicts(
            self, choices: Sequence[AnswerPair], site: Site, featurizer: Featurizer | None
        ) -> list[tuple[bool, bool]]:
            asked.extend(choices)
            return [(False, False)] * len(choices)

    labels = [((1, 2, 3, 4), (5,)), ((1, 2, 3, 4, 5), (1, 2, 3, 6, 5))]
    judge(instance_of(labels), SPLIT, Noting({}), SITE, None, label_tokens=2)
    assert [choice.answers for choice in asked] == [((1, 2), (5,)), ((1, 2, 3, 4), (1, 2, 3, 6))]


def test_answers_of_equal_ids_are_refused() -> None:
    instance = instance_of([((1, 2), (3,))])
    base = instance.prompt("b0")
    object.__setattr__(base, "label_ids", (3,))
    with pytest.raises(SuiteError, match="differ in their token ids for pair p0"):
        judge(instance, SPLIT, Speaker({}), SITE, None)


def test_a_withheld_split_is_refused() -> None:
    instance = instance_of([((1,), (2,))]).without_test()
    with pytest.raises(SuiteError, match="withheld"):
        judge(instance, "context_test", Speaker({}), SITE, None)


def model_instance(engine: DirectEngine, make_prompt: Callable[..., Prompt]) -> Instance:
    """Pairs of made-up prompts with the miniature's own greedy answers, of one to four tokens, as labels."""
    templates = {"A": ["%s lies in", "Where is %s? In"], "B": ["%s speaks", "The tongue of %s is"]}
    entities = ["Ulm", "Oslo", "Lima", "Rome", "Bern", "Kyiv"]
    prompts = {(t, e): make_prompt(t, e, a) for a, ts in templates.items() for t in ts for e in entities}
    completions = engine.complete(list(prompts.values()), 4)
    records = {}
    for i, (key, completion) in enumerate(zip(prompts, completions, strict=True)):
        ids = _until_stop(completion.token_ids)
        records[key] = PromptRecord(f"q{i}", prompts[key], f"label {ids}", ids, None)
    pairs = [
        pair_of(
            f"{records[t, base].prompt_id}-{records[s, source].prompt_id}",
            *(records[t, base], records[s, source], records[t, source]),
        )
        for t in (t for ts in templates.values() for t in ts)
        for s in (s for ss in templates.values() for s in ss)
        for base in entities
        for source in entities
        if records[t, base].label_ids != records[t, source].label_ids
    ]
    return Instance.from_parts(
        entity_type="toy",
        model_name="toy",
        model_fingerprint=engine.target.fingerprint,
        prompts=records.values(),
        pairs={SPLIT: pairs},
    )


def _until_stop(ids: Ids) -> Ids:
    """A label ends before the first token, but one, that stands for a full stop: where depends on the output
    only."""
    end = next((i for i, token in enumerate(ids) if i and token % 3 == 0), len(ids))
    return ids[:end]


def test_a_real_model_left_alone_says_its_own_labels(
    small_target: TargetModel, make_prompt: Callable[..., Prompt]
) -> None:
    """The instrument's check: without a change and with an empty mask, cause is 0 and isolate 1."""
    engine = DirectEngine(small_target)
    instance = model_instance(engine, make_prompt)
    assert len(instance.pairs(SPLIT)) > 100
    empty = MaskedBasis(torch.zeros(small_target.d_model), None)
    for featurizer in (None, empty):
        outcomes = judge(instance, SPLIT, engine, Site(1), featurizer)
        for attribute in ("A", "B"):
            found = scores(outcomes, attribute)
            assert (found.cause, found.isolate) == (0, 1)


def test_a_real_model_is_judged_as_one_pair_at_a_time_with_both_answers(
    small_target: TargetModel, make_prompt: Callable[..., Prompt]
) -> None:
    engine = DirectEngine(small_target)
    instance = model_instance(engine, make_prompt)
    half = MaskedBasis((torch.arange(small_target.d_model) % 2).float(), None)
    for pair, outcome in zip(
        instance.pairs(SPLIT), judge(instance, SPLIT, engine, Site(0), half), strict=True
    ):
        base, swapped = instance.prompt(pair.base), instance.prompt(pair.swapped)
        began = {}
        for name, ids in (("unchanged", base.label_ids), ("swapped", swapped.label_ids)):
            head = ids[:3]
            forced = ForcedPair(base.prompt, instance.prompt(pair.source).prompt, head)
            logits = engine.interchange_logits([forced], Site(0), half)
            began[name] = tuple(logits[0].argmax(dim=-1).tolist()) == head
        if base.label_ids[: len(swapped.label_ids)] != swapped.label_ids[: len(base.label_ids)]:
            assert (outcome.said_unchanged, outcome.said_swapped) == (began["unchanged"], began["swapped"])
