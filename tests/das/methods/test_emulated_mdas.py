"""MDAS on an emulation: labels token by token, slopes of the model, an emulator by hand, the budget."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from planted_world import SITE, PlantedWorld
from token_world import token_instance
from torch import Tensor
from torch.nn import functional

from das.engine import make_engine
from das.engine.base.labels import ForcedLabels
from das.engine.base.protocol import FeaturizedPairs
from das.featurizers import Subspace, retract
from das.methods.common.base import Problem
from das.methods.common.labelled import training_prompts
from das.methods.common.recombined import Groups, Recombination
from das.methods.trained._emulation import _Shifted, bounded, slopes_at
from das.methods.trained._emulator import AnswerTokens, Asked, Emulator, Teaching, teach
from das.methods.trained.emulated_mdas import EmulatedMdas, EmulatedMdasConfig
from das.models import FAMILIES
from das.models.miniature import miniature
from das.sites import Site
from das.training.examples import cause_pairs
from das.training.workspace import SilentWorkspace


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_labels_are_laid_out_token_by_token() -> None:
    answers = AnswerTokens([(7,), (5, 9), (5, 7, 9)])
    assert answers.counts == (3, 3)  # tokens 5, 7, 9; beginnings (), (5,), (5, 7)
    found = answers.laid_out([(5, 9), (7,)])
    assert found.tokens.tolist() == [[0, 2, 0], [1, 0, 0]]
    assert found.prefixes.tolist() == [[0, 1, 0], [0, 0, 0]]
    assert found.weights.tolist() == [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]


def test_an_emulator_s_cross_entropy_is_the_mean_over_a_label_s_own_tokens() -> None:
    answers = AnswerTokens([(7,), (5, 9)])
    vectors = seeded(4, 6)
    emulator = Emulator(answers, vectors, 8, torch.Generator().manual_seed(0))
    labels = answers.laid_out([(5, 9), (7,), (5, 9), (7,)])
    found = emulator.cross_entropy(vectors, labels)
    units = (vectors - vectors.mean(dim=0)) / vectors.std(dim=0).mean()
    for row, wanted in enumerate([((0, 0), (1, 2)), ((0, 1),), ((0, 0), (1, 2)), ((0, 1),)]):
        each = []
        for prefix, token in wanted:
            hidden = functional.gelu(units[row] @ emulator.into + emulator.after[prefix])
            logits = hidden @ emulator.out + units[row] @ emulator.straight + emulator.usual[prefix]
            each.append(functional.cross_entropy(logits[None], torch.tensor([token])))
        assert torch.allclose(found[row], torch.stack(each).mean(), atol=1e-6)


@pytest.mark.parametrize("engine", ["resume", "direct"])
def test_slopes_are_those_of_the_model_at_the_swapped_vector_pair_by_pair(engine: str) -> None:
    target = miniature(FAMILIES.get("llama"))
    instance, made = token_instance(target.fingerprint), make_engine(engine, target)
    site = Site(1)
    pairs = [p.forced for p in cause_pairs(instance, "A", "train", limit=6, seed=0, label_tokens=3)]
    subspace = Subspace(retract(seeded(target.d_model, 3)))
    base, source = (made.collect([getattr(p, n) for p in pairs], [site])[site] for n in ("base", "source"))
    found, slopes = slopes_at(pairs, made, site, subspace, source - base)
    alone = made.forced_labels([FeaturizedPairs(pairs, subspace)], site)[0].cross_entropy
    assert torch.allclose(found, alone, atol=1e-5)
    for row, pair in enumerate(pairs):
        way = functional.normalize(slopes[row] + 0.1 * slopes[row].norm() * seeded(target.d_model), dim=0)
        step = 0.05 * base[row].norm()
        ends = [
            made.forced_labels(
                [FeaturizedPairs([pair], _Shifted(subspace, source[row] - base[row], sign * step * way))],
                site,
            )[0].cross_entropy
            for sign in (1, -1)
        ]
        assert float((ends[0] - ends[1]) / (2 * step)) == pytest.approx(float(slopes[row] @ way), rel=0.05)


def test_slopes_tell_an_emulator_what_answers_at_few_points_do_not() -> None:
    world = PlantedWorld(1, n_entities=40)
    answers = AnswerTokens([(token,) for token in range(4)])
    natural = (world.vectors, answers.laid_out([(world.label_id("A", i),) for i in range(40)]))

    def asked(seed: int, count: int) -> Asked:
        vectors = (world.vectors.mean(dim=0) + 1.5 * seeded(count, 16, seed=seed)).requires_grad_()
        labels = answers.laid_out([(i % 4,) for i in range(count)])
        logits = world.readout(vectors, ["A"] * count)
        found = functional.cross_entropy(logits, labels.tokens[:, 0], reduction="none")
        (slopes,) = torch.autograd.grad(found.sum(), vectors)
        return Asked(vectors.detach(), labels, found.detach(), slopes)

    few, others, errors = asked(2, 30), asked(3, 400), {}
    for weight in (0.0, 1.0):
        stream = torch.Generator().manual_seed(5)
        emulator = Emulator(answers, world.vectors, 64, stream)
        teach(emulator, natural, few, Teaching(300, weight), stream)
        said = torch.exp(-emulator.cross_entropy(others.vectors, others.labels).detach())
        errors[weight] = float((said - torch.exp(-others.cross_entropy)).abs().mean())
    assert errors[1.0] < 0.7 * errors[0.0]


class CountedWorld(PlantedWorld):
    """Counts the pairs that carry a gradient."""

    asked = 0

    def forced_labels(self, groups: Sequence[FeaturizedPairs], site: Site) -> list[ForcedLabels]:
        self.asked += sum(len(group.pairs) for group in groups)
        return super().forced_labels(groups, site)


class OneWorkspace(SilentWorkspace):
    """Keeps what is shared, as a run does."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Tensor]] = {}

    def shared(self, key, make):  # type: ignore[no-untyped-def]
        """Make it once."""
        return self.kept.setdefault(key, {}) or self.kept[key].update(make()) or self.kept[key]


def test_all_attributes_share_one_emulation_and_its_budget() -> None:
    world = CountedWorld(3, n_entities=60)
    instance, workspace = world.instance(n_pairs=400, n_held_out=10).without_test(), OneWorkspace()
    config = EmulatedMdasConfig(queries=80, fitting_steps=300)
    found = {}
    for attribute in ("A", "B"):
        found[attribute] = EmulatedMdas(config).fit(
            Problem(instance, attribute, SITE, 2, 0), world, workspace
        )
    assert len(workspace.kept) == 1
    assert world.asked == 2 * config.asked_pairs
    for attribute, featurizer in found.items():
        assert isinstance(featurizer, Subspace)
        cause, isolate = world.scores(featurizer, attribute)
        assert (cause > 0.8, isolate > 0.95) == (True, True)


def test_every_member_of_a_group_is_drawn_as_often_and_none_of_another() -> None:
    groups = Groups(["a", "b", "a", "c", "a"])
    stream = torch.Generator().manual_seed(0)
    drawn = groups.drawn(torch.zeros(3000, dtype=torch.long), stream)
    assert drawn.bincount(minlength=5).tolist() == pytest.approx([1000, 0, 1000, 0, 1000], abs=120)
    wanted = torch.randint(0, 3, (500,), generator=stream)
    assert torch.equal(groups.of[groups.drawn(wanted, stream)], wanted)


def test_recombined_pairs_want_what_is_known_of_them() -> None:
    records = training_prompts(token_instance("none is asked"))
    entities = Groups([record.prompt.entity for record in records])
    pairs = Recombination(records, "A", entities)
    asking = [records[row] for row in pairs.rows.tolist()]
    assert {record.prompt.attribute for record in asking} == {"A"}
    stream = torch.Generator().manual_seed(1)
    cause, isolate = pairs.causes(400, stream), pairs.isolates(400, stream)
    for base, source, answer in zip(cause.bases, cause.sources, cause.answers, strict=True):
        wanted, prompt = asking[answer], records[base].prompt
        assert wanted.prompt.template == prompt.template
        assert wanted.prompt.entity == records[source].prompt.entity
    for base, answer in zip(isolate.bases, isolate.answers, strict=True):
        assert asking[answer] == records[base]
    differ = [
        asking[answer].label_ids != records[base].label_ids
        for base, answer in zip(cause.bases, cause.answers, strict=True)
    ]
    assert sum(differ) >= 380  # of four values each redraw leaves a quarter: 1/256 in the end
    assert (
        len({*zip(cause.bases.tolist(), cause.sources.tolist(), strict=True)}) > 200
    )  # of 12 training pairs


def test_the_loss_of_a_pair_is_bounded_and_without_a_bound_the_cross_entropy() -> None:
    likely = torch.tensor([1.0, 0.25, 1e-30])
    cross_entropy = -likely.log()
    # By hand, q = 1/2: 2 (1 - sqrt p).
    assert bounded(cross_entropy, 0.5).tolist() == pytest.approx([0.0, 1.0, 2.0], abs=1e-6)
    assert bounded(cross_entropy, 1.0).tolist() == pytest.approx([0.0, 0.75, 1.0], abs=1e-6)
    assert torch.equal(bounded(cross_entropy, 0.0), cross_entropy)
    assert torch.allclose(bounded(cross_entropy[:2], 1e-4), cross_entropy[:2], atol=1e-3)
