"""What is learned acts at its tokens only, in any company and with any cache; training resumes to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from das.engine.base.batch import pad_rows
from das.models import FAMILIES
from das.models.base import TargetModel
from das.models.miniature import miniature
from das.reft.answering import continued
from das.reft.settings import KINDS, ReftConfig
from das.reft.training import Example, answer_loss, batch_at, rate_at, total_steps, train
from das.reft.tuned import PromptPlaces, Tuned, TunedProjections, TunedStates, fresh_tuned
from ravel.common.errors import SuiteError

PROMPTS = [(1, 40, 41), (1, 9), (1, 50, 51, 52, 53, 54, 55), (1,)]
EXAMPLES = [Example(prompt, (20 + i, 2)) for i, prompt in enumerate(PROMPTS)]
SHORT = {"rank": 2, "positions": "f2+l2", "steps": 8, "batch_size": 3, "learning_rate": 0.05}


@pytest.fixture(scope="module")
def target() -> TargetModel:
    return miniature(FAMILIES.get("llama"))


def tuned_for(target: TargetModel, kind: str, *, tied: bool = True, spread: float = 0.3) -> Tuned:
    """Return changes with random weights, so that they do something."""
    config = ReftConfig.from_mapping({**SHORT, "kind": kind, "tied": tied, "layers": [0, 2]}, origin="test")
    tuned = fresh_tuned(config, target, torch.Generator().manual_seed(3))
    noise = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.add_(spread * torch.randn(parameter.shape, generator=noise))
    tuned.retract()
    return tuned


def states_after(
    target: TargetModel, tuned: Tuned | None, prompts: list[tuple[int, ...]], side: str
) -> list[torch.Tensor]:
    """Return each prompt's last logits, in one batch padded on a side."""
    padded = pad_rows(prompts, side=side)  # type: ignore[arg-type]
    places = PromptPlaces(tuple(padded.shifts.tolist()), tuple(map(len, prompts)))
    work = tuned.at_work(target, places) if tuned is not None else torch.no_grad()
    with work, torch.no_grad():
        logits = target.model(
            input_ids=padded.ids, attention_mask=padded.attention_mask, position_ids=padded.position_ids
        ).logits
    return [logits[i, s + n - 1] for i, (s, n) in enumerate(zip(places.starts, places.lengths, strict=True))]


@pytest.mark.parametrize("kind", ["loreft", "direft", "lora"])
def test_padding_on_either_side_and_company_change_nothing(target: TargetModel, kind: str) -> None:
    tuned = tuned_for(target, kind, tied=False)
    alone = [states_after(target, tuned, [prompt], "left")[0] for prompt in PROMPTS]
    for side in ("left", "right"):
        for one, many in zip(alone, states_after(target, tuned, PROMPTS, side), strict=True):
            torch.testing.assert_close(many, one, atol=1e-5, rtol=1e-4)
    plain = states_after(target, None, PROMPTS, "left")
    assert all(not torch.allclose(a, b, atol=1e-3) for a, b in zip(alone, plain, strict=True))
    assert not any(module._forward_hooks for module in target.model.modules())


@pytest.mark.parametrize("kind", ["loreft", "direft_orthonormal", "lora"])
def test_answers_with_a_cache_are_those_without(target: TargetModel, kind: str) -> None:
    tuned = tuned_for(target, kind)
    cached = continued(target, tuned, PROMPTS, 6)
    assert cached == continued(target, tuned, PROMPTS, 6, cached=False)
    assert cached == [continued(target, tuned, [prompt], 6)[0] for prompt in PROMPTS]
    assert cached != continued(target, None, PROMPTS, 6)


def test_only_the_chosen_tokens_are_edited(target: TargetModel) -> None:
    """Written out with a hook of one's own: the states after block 0 of f1+l1 are those of the formula."""
    config = ReftConfig(rank=2, positions="f1+l1", layers=(0,), tied=False)
    tuned = fresh_tuned(config, target, torch.Generator().manual_seed(3))
    assert isinstance(tuned, TunedStates)
    with torch.no_grad():
        tuned.changes[0].offset.fill_(1.0)  # type: ignore[union-attr,operator]
        tuned.changes[1].offset.fill_(-2.0)  # type: ignore[union-attr,operator]
    block = target.family.blocks(target.model)[0]
    seen: list[torch.Tensor] = []
    ids = torch.tensor([PROMPTS[2]])
    for work in (torch.no_grad(), tuned.at_work(target, PromptPlaces((0,), (7,)))):
        with work, torch.no_grad():
            handle = block.register_forward_hook(
                lambda m, i, o: seen.append(o[0] if isinstance(o, tuple) else o)
            )
            target.model(input_ids=ids)
            handle.remove()
    plain, edited = (states.reshape(7, -1) for states in seen)
    first, last = tuned.changes
    torch.testing.assert_close(edited[0], first(plain[0]))
    torch.testing.assert_close(edited[6], last(plain[6]))
    assert torch.equal(edited[1:6], plain[1:6])


def test_a_step_is_counted_by_hand() -> None:
    config = ReftConfig(epochs=3, batch_size=4, warmup=0.25, learning_rate=1.0)
    assert total_steps(config, 10) == 9
    assert total_steps(ReftConfig(steps=5), 10) == 5
    # Two steps of warm-up, then a line from 1 to 0 over seven.
    assert [rate_at(config, step, 9) for step in (0, 1, 2, 8)] == pytest.approx([0, 0.5, 1, 1 / 7])
    epoch = [i for step in range(3) for i in batch_at(10, 4, step, 0)]
    assert sorted(epoch) == list(range(10))
    assert epoch != [i for step in range(3, 6) for i in batch_at(10, 4, step, 0)]


def test_the_loss_is_the_mean_over_answer_tokens(target: TargetModel) -> None:
    tuned = tuned_for(target, "loreft")
    batch = [Example(PROMPTS[0], (20, 2)), Example(PROMPTS[2], (30,))]
    expected = []
    for one in batch:
        row = one.prompt + one.answer
        with tuned.at_work(target, PromptPlaces((0,), (len(one.prompt),))), torch.no_grad():
            logs = target.model(input_ids=torch.tensor([row])).logits[0].log_softmax(-1)
        expected += [-logs[len(one.prompt) - 1 + i, token] for i, token in enumerate(one.answer)]
    loss = answer_loss(tuned, target, batch)
    torch.testing.assert_close(loss.detach(), torch.stack(expected).mean(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_training_learns_and_leaves_the_model_as_it_is(target: TargetModel, kind: str) -> None:
    before = {name: weights.clone() for name, weights in target.model.state_dict().items()}
    config = ReftConfig.from_mapping({**SHORT, "kind": kind, "steps": 12}, origin="test")
    tuned = fresh_tuned(config, target, torch.Generator().manual_seed(0))
    with torch.no_grad():
        start = float(answer_loss(tuned, target, EXAMPLES))
    losses = train(tuned, target, EXAMPLES, config)
    with torch.no_grad():
        assert float(answer_loss(tuned, target, EXAMPLES)) < start - 0.03
    assert len(losses) == 12
    assert all(torch.equal(weights, before[name]) for name, weights in target.model.state_dict().items())


@pytest.mark.parametrize("kind", ["loreft", "lora"])
def test_what_was_stopped_goes_on_to_the_same_bits(target: TargetModel, kind: str, tmp_path: Path) -> None:
    config = ReftConfig.from_mapping({**SHORT, "kind": kind, "steps": 28, "seed": 5}, origin="test")

    def fit(folder: Path | None, stop: int | None = None) -> tuple[Tuned, list[float]]:
        tuned = fresh_tuned(config, target, torch.Generator().manual_seed(0))

        def after(done: int) -> None:
            if done == stop:
                raise KeyboardInterrupt

        return tuned, train(tuned, target, EXAMPLES, config, folder=folder, identity="one", after_step=after)

    whole, losses = fit(None)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, stop=27)
    resumed, again = fit(tmp_path)
    assert again == losses
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(SuiteError, match="another fit"):
        train(resumed, target, EXAMPLES, config, folder=tmp_path, identity="two")


def test_what_does_not_fit_the_model_is_refused(target: TargetModel) -> None:
    generator = torch.Generator()
    for changes, said in (
        ({"layers": (9,)}, "layers from 0 to 3"),
        ({"layers": ()}, "layers from 0 to 3"),
        ({"rank": 33}, "at most 32"),
        ({"positions": "x"}, "f7"),
        ({"kind": "lora", "modules": ("o_prj",)}, "o_proj"),
    ):
        with pytest.raises(SuiteError, match=said):
            fresh_tuned(ReftConfig.from_mapping(changes, origin="test"), target, generator)
    tuned = fresh_tuned(ReftConfig(rank=2, positions="f2"), target, generator)
    with pytest.raises(SuiteError, match="f2 edits a token"):
        tuned.check_prompt(1, "x")
    with pytest.raises(SuiteError, match="width 16 at layer 0"):
        tuned.check(_narrower())


def _narrower() -> TargetModel:
    config = FAMILIES.get("llama").miniature()
    config.hidden_size, config.head_dim = 16, 4
    from das.models.miniature import random_target

    return random_target(config, name="narrow")


def test_lora_goes_where_it_is_told(target: TargetModel) -> None:
    config = ReftConfig(kind="lora", rank=2, layers=(1,), modules=("q_proj", "down_proj"))
    tuned = fresh_tuned(config, target, torch.Generator())
    assert isinstance(tuned, TunedProjections)
    assert tuned.paths == ("model.layers.1.self_attn.q_proj", "model.layers.1.mlp.down_proj")
    # 2 x (32 + 32) and 2 x (48 + 32).
    assert tuned.n_parameters == 128 + 160
    gpt2 = miniature(FAMILIES.get("gpt2"))
    other = fresh_tuned(ReftConfig(kind="lora", rank=2), gpt2, torch.Generator())
    assert isinstance(other, TunedProjections)
    assert len(other.paths) == gpt2.n_layers
