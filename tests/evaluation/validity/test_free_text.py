"""Shares of free text after an interchange, in a world whose answer is known and through the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cli_world import SITE as MINIATURE_SITE
from cli_world import World, fit_args, ravel, suite_text
from planted_world import ATTRIBUTES, SITE, WIDTH, PlantedWorld
from torch import Tensor

from das.engine.base.protocol import PromptPair
from das.featurizers import MaskedBasis, Subspace
from das.featurizers.base import Featurizer
from das.models import FAMILIES
from das.models.miniature import miniature
from das.sites import Site
from evaluation.judging.judge import InterchangeJudge
from evaluation.validity.free_text.share import FreeTextConfig, FreeTextScore, FreeTextScorer
from ravel.asking.answerer import Decided
from ravel.common.errors import SuiteError
from ravel.terms.schema import Completion, Prompt

FEW = FreeTextConfig(limit_pairs=60, resamples=200)
PHRASES = (
    "red apple falls",
    "green pear grows",
    "blue plum rolls",
    "black fig rots",
    "old",
    "new",
    "far",
    "near",
)


class TalkingWorld(PlantedWorld):
    """A world that says a phrase for each value, with words in between that tell nothing. With `mumbles` it
    says the same whatever the value is."""

    def __init__(self, seed: int, *, mumbles: bool = False) -> None:
        super().__init__(seed)
        self.mumbles = mumbles
        self.target = replace(self.target, tokenizer=miniature(FAMILIES.get("qwen2")).tokenizer)

    def said(self, vectors: Tensor, prompts: Sequence[Prompt]) -> list[Completion]:
        """The phrase of the value that is read out of each vector."""
        ids = self.readout(vectors, [prompt.attribute for prompt in prompts]).argmax(dim=1).tolist()
        return [Completion(f"so the {self._phrase(token)} here", (token,)) for token in ids]

    def _phrase(self, token: int) -> str:
        return "same thing" if self.mumbles else PHRASES[token]

    def complete(
        self,
        prompts: Sequence[Prompt],
        max_new_tokens: int,
        decided: Decided | None = None,
        begun: Sequence[tuple[int, ...]] | None = None,
    ) -> list[Completion]:
        """The phrase of each prompt."""
        return self.said(self.collect(prompts, [SITE])[SITE], prompts)

    def sample(
        self, prompts: Sequence[Prompt], chances: Tensor, temperature: float, decided: Decided | None = None
    ) -> list[list[Completion]]:
        """The phrase of each prompt, in a tenth of the cases that of the next value."""
        found = []
        for plain, own in zip(self.complete(prompts, 1), chances[:, :, 0].tolist(), strict=True):
            (token,) = plain.token_ids
            astray = token // 4 * 4 + (token + 1) % 4
            ids = [astray if chance < 0.1 else token for chance in own]
            found.append([Completion(f"and the {self._phrase(one)} there", (one,)) for one in ids])
        return found

    def complete_swapped(
        self,
        pairs: Sequence[PromptPair],
        site: Site,
        featurizer: Featurizer | None,
        max_new_tokens: int,
        decided: Decided | None = None,
    ) -> list[Completion]:
        """What is said after the interchange."""
        bases = [pair.base for pair in pairs]
        vectors = self.collect(bases, [site])[site]
        if featurizer is not None:
            sources = self.collect([pair.source for pair in pairs], [site])[site]
            vectors = featurizer.interchange(vectors, sources)
        return self.said(vectors, bases)


def scored(world: TalkingWorld, featurizer: Featurizer | None, config: FreeTextConfig = FEW) -> FreeTextScore:
    judge = InterchangeJudge(world)
    return FreeTextScorer(world.instance(n_pairs=40, n_held_out=80), judge, config).score(
        featurizer, SITE, "A"
    )


@pytest.fixture(scope="module")
def talking() -> TalkingWorld:
    return TalkingWorld(0)


def test_nothing_swapped_is_all_base_and_everything_swapped_all_source(talking: TalkingWorld) -> None:
    nothing = scored(talking, MaskedBasis(torch.zeros(WIDTH)))
    assert nothing.cause == pytest.approx(0, abs=1e-6)
    assert nothing.isolate == pytest.approx(1, abs=1e-6)
    everything = scored(talking, MaskedBasis(torch.ones(WIDTH)))
    assert everything.cause == pytest.approx(1, abs=1e-6)
    assert everything.isolate == pytest.approx(0, abs=1e-6)
    # The texts are then those of the source's run, word for word.
    assert everything.target.source_run == everything.target.estimate.share
    assert nothing.target.base_run == nothing.target.estimate.share
    assert scored(talking, None).to_json() == nothing.to_json()


def test_the_true_plane_isolates_and_agrees_with_forced_labels(talking: TalkingWorld) -> None:
    found = scored(talking, Subspace(talking.plane("A")))
    assert found.cause is not None
    assert found.isolate is not None
    assert (found.cause, found.isolate) == pytest.approx((1, 1), abs=1e-6)
    assert found.target.said_swapped == 1
    assert found.others is not None
    assert found.others.said_unchanged == 1
    assert [one.attributes for one in found.each_other] == [("B",)]


def test_a_share_between_lies_in_its_intervals_and_near_forced_labels(talking: TalkingWorld) -> None:
    half = MaskedBasis(torch.eye(WIDTH)[0], talking.directions)
    found = scored(talking, half)
    share = found.target.estimate
    assert share.share is not None
    # Texts of a third value are like neither, and count for nothing or by halves.
    said = found.target
    assert said.said_swapped - 0.1 < share.share < 1 - said.said_unchanged + 0.1
    assert share.by_document is not None
    for low, high in (share.likelihood, share.by_document, found.cause_interval or (1, 0)):
        assert low <= share.share <= high
    assert said.bias is not None
    assert abs(said.bias) < 0.1


def test_texts_that_say_the_same_name_no_share() -> None:
    found = scored(TalkingWorld(0, mumbles=True), MaskedBasis(torch.ones(WIDTH)))
    assert found.cause is None
    assert found.cause_interval is None
    assert found.target.reason is not None
    assert "do not tell both kinds apart" in found.target.reason
    assert found.isolate is None
    assert found.target.undecided == 1


def test_equal_arguments_give_equal_scores_and_every_prompt_is_asked_once(talking: TalkingWorld) -> None:
    assert scored(talking, None).to_json() == scored(talking, None).to_json()
    asked: list[str] = []

    class Counting(TalkingWorld):
        def complete(self, prompts: Sequence[Prompt], *args: object, **kwargs: object) -> list[Completion]:
            asked.extend(prompt.text for prompt in prompts)
            return super().complete(prompts, 1)

    scorer = FreeTextScorer(talking.instance(n_pairs=40, n_held_out=80), InterchangeJudge(Counting(0)), FEW)
    for _ in range(2):
        scorer.score(None, SITE, "A")
    assert len(asked) == len(set(asked)) * 2  # once greedily, once as the root of the draws


def test_unknown_attributes_and_empty_splits_are_refused(talking: TalkingWorld) -> None:
    judge, instance = InterchangeJudge(talking), talking.instance(n_pairs=40, n_held_out=20)
    with pytest.raises(SuiteError, match="attribute of this planted instance"):
        FreeTextScorer(instance, judge, FEW).score(None, SITE, "C")
    with pytest.raises(SuiteError, match="pairs in the split entity_val"):
        FreeTextScorer(instance, judge, FEW.model_copy(update={"generalisation": "entity"}))
    assert set(ATTRIBUTES) == set(instance.attributes)


QUICK = ("--limit-pairs", 6, "--tokens", 4, "--samples", 2)


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    suite = folder / "suite.yaml"
    small = {"methods": ["mean_difference"], "attributes": ["Birthplace"], "generalisations": ["context"]}
    suite.write_text(suite_text(world, **small))
    done = ravel("run", suite, "--out", folder / "run")
    assert done.exit_code == 0, done.output
    return folder / "run"


def test_a_run_has_a_row_for_every_chosen_point(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "texts.json"
    done = ravel("share-text", run, *QUICK, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found == json.loads(out.read_text())
    assert found["split"] == "context_val"
    rows = {row["method"]: row for row in found["rows"]}
    assert {"no_op", "full_vector", "mean_difference"} <= set(rows)
    nothing = rows["no_op"]["score"]["target"]
    assert nothing["said_unchanged"] == 1
    # A random model may say nothing that tells; if it does, then nothing was swapped.
    assert nothing["share"] in (None, nothing["base_run"])
    shown = ravel("share-text", run, *QUICK)
    assert shown.exit_code == 0, shown.output
    # A narrow terminal breaks the heads of columns, never a method's name.
    assert {"labels", "no_op", "full_vector", "mean_difference"} <= set(shown.stdout.split())


def test_one_featurizer_is_scored_for_its_attribute(world: World, tmp_path: Path) -> None:
    done = ravel(*fit_args(world, tmp_path / "fit", "mean_difference"))
    assert done.exit_code == 0, done.output
    words = ("share-text", tmp_path / "fit", "--instance", world.instance, *QUICK, "--json")
    (row,) = json.loads(ravel(*words).stdout)["rows"]
    assert (row["method"], row["attribute"], row["site"]) == ("mean_difference", "Birthplace", MINIATURE_SITE)
    assert row["score"]["target"]["attributes"] == ["Birthplace"]
    assert row["score"]["target"]["n_sentences"] == 6


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--attribute", "Height"), "none for Height"),
        (("--split", "entity"), "chosen points of entity"),
        (("--engine", "reference"), "an engine that samples"),
        (("--instance", "here"), "only the folder of a run"),
    ],
)
def test_mistakes_about_a_run_are_one_paragraph(
    words: tuple[str, ...], says: str, run: Path, world: World
) -> None:
    done = ravel("share-text", run, *QUICK, *words, "--model", world.model)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())


def test_a_featurizer_without_its_instance_is_refused(world: World, tmp_path: Path) -> None:
    assert ravel(*fit_args(world, tmp_path / "fit")).exit_code == 0
    done = ravel("share-text", tmp_path / "fit", "--model", world.model)
    assert done.exit_code == 2
    assert "the instance that the featurizer was fitted on" in " ".join(done.stderr.split())
