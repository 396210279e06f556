"""HyperDAS without its choice of tokens: a network turns an instruction into a subspace, for all attributes
at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, optim

from das.engine.base.backward import add_gradients
from das.engine.base.protocol import Engine, FeaturizedPairs
from das.featurizers.base import Featurizer
from das.featurizers.subspace import Subspace
from das.methods.common.alignment import check_attribute, check_size, random_columns, shared_key
from das.methods.common.base import Method, MethodConfig, Problem, Workspace
from das.methods.common.labelled import training_prompts
from das.methods.common.tasks import mixed_pairs, require_cause_pairs, require_isolate_pairs
from das.methods.trained._hypernetwork import HyperNetwork, normed
from das.threads import one_thread
from das.training.batches import batches
from das.training.objective import LossWeights, TrainingPair, pooled_loss
from das.training.schedules import learning_rate_at
from ravel.common.seeds import derive_seed, python_stream, sampled
from ravel.terms.schema import TRAIN_SPLIT

_WARM_UP = 0.05


class HyperdasConfig(MethodConfig):
    """Settings of hyperdas; each attribute of the instance takes a part in every step."""

    reflections: PositiveInt | None = None
    """Reflections that turn the shared columns into those of an instruction (reference: 1, with which each
    subspace has all but one direction of the shared columns); None: as many as the size."""
    hidden: PositiveInt = 128
    """Hidden units of the network."""
    instructions: PositiveInt = 256
    """Most training prompts whose last vectors are the instruction of an attribute."""
    epochs: PositiveInt = 3
    """Passes over the pairs of the attribute that has most (reference: 3 to 5)."""
    batch_size: PositiveInt = 32
    """Pairs of each attribute in a step (reference: 16, of one attribute)."""
    learning_rate: PositiveFloat = 1e-2
    """Peak rate of AdamW for the shared columns (reference: 1e-3)."""
    network_rate: PositiveFloat = 1e-3
    """The same for the network (reference: 4e-5)."""
    weight_decay: NonNegativeFloat = 0.01
    """Decoupled weight decay of the network (reference: 0.01); the columns have none."""
    gradient_clip: PositiveFloat = 4.0
    """Largest norm of a step's gradient (reference: 4)."""
    label_tokens: PositiveInt = 3
    """How many of a label's first tokens are forced and trained on."""
    cause_pairs: PositiveInt = 4000
    """Most cause pairs of each attribute."""
    isolate_pairs_per_attribute: PositiveInt | None = None
    """Most isolate pairs of each attribute for each other one; None: as many as `mdas` takes."""
    isolate_share: float = Field(default=0.5, gt=0.0, lt=1.0)
    """Share of the loss for all isolate pairs of an attribute together."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is trained on for one attribute."""

    pairs: Sequence[TrainingPair]
    """Cause and isolate pairs."""
    weights: LossWeights
    """How much one of each counts."""


class Hyperdas(Method[HyperdasConfig]):
    """The subspace half of HyperDAS (Sun et al. 2025, arXiv 2503.10894): one network for all attributes of an
    instance, which turns shared columns into those of the attribute that an instruction names.

    `out = base + (source - base) R' R'^T`, `R' = (I - 2 v v^T) R`, `v = MLP(e)` of length one. The
    instruction e of an attribute is the mean vector at the last token of the training prompts that ask for
    it, as the model itself reads them. Cause and isolate pairs as in MDAS. Departures: HyperDAS also chooses
    tokens in base and source, by attention over the states of all layers; here the site names the token, so
    nothing is chosen, soft and hard or symmetric and asymmetric choices are the same, and there is no
    sparsity loss. With one reflection each subspace has all but one direction of R, so that any two share all
    but two; so by default there are as many as columns. The last step is kept. One training serves all
    attributes at a site, size and seed.
    """

    name = "hyperdas"
    summary = "Subspaces of all attributes by one network that reads instructions (cause + isolate)"
    config_class = HyperdasConfig
    needs_vectors = True
    needs_pairs = True

    def fit(self, problem: Problem, engine: Engine, workspace: Workspace) -> Featurizer:
        """Return a `Subspace`. Raises SuiteError for an unknown attribute, a size beyond the model's width,
        and a target or others without training pairs."""
        check_attribute(problem)
        check_size(problem, engine)
        asked = self._asked(problem)
        if problem.attribute not in asked:
            # Says which kind is missing.
            causes, isolates = self._pairs(problem, problem.attribute)
            require_cause_pairs(problem, causes)
            require_isolate_pairs(problem, isolates)
        settings = self.config.model_dump(mode="json")
        key = shared_key(self.name, problem, engine, size=problem.size, seed=problem.seed, config=settings)
        made = workspace.shared(key, lambda: self._columns(problem, engine, workspace, asked))
        return Subspace(made[problem.attribute])

    def _seed(self, problem: Problem) -> int:
        return derive_seed(problem.seed, self.name, str(problem.site), str(problem.size))

    def _pairs(self, problem: Problem, attribute: str) -> tuple[list[TrainingPair], list[TrainingPair]]:
        return mixed_pairs(
            replace(problem, attribute=attribute),
            TRAIN_SPLIT,
            cause_limit=self.config.cause_pairs,
            isolate_limit_each=self.config.isolate_pairs_per_attribute,
            seed=self._seed(problem),
            label_tokens=self.config.label_tokens,
        )

    def _asked(self, problem: Problem) -> dict[str, _Asked]:
        """Return what is trained on for each attribute that has pairs of both kinds."""
        found: dict[str, _Asked] = {}
        isolate = self.config.isolate_share
        for attribute in problem.instance.attributes:
            causes, isolates = self._pairs(problem, attribute)
            if causes and isolates:
                weights = LossWeights.from_shares(
                    cause=1 - isolate, isolate=isolate, n_cause=len(causes), n_isolate=len(isolates)
                )
                found[attribute] = _Asked([*causes, *isolates], weights)
        return found

    def _columns(
        self, problem: Problem, engine: Engine, workspace: Workspace, asked: Mapping[str, _Asked]
    ) -> dict[str, Tensor]:
        """Train; return the columns of each attribute, [width, size]."""
        config, seed, device = self.config, self._seed(problem), engine.target.device
        instructions = normed(self._instructions(problem, engine, list(asked))).to(device)
        network = HyperNetwork(
            random_columns(engine.target.width(problem.site), problem.size, derive_seed(seed, "start")),
            instructions.shape[1],
            config.hidden,
            config.reflections or problem.size,
            derive_seed(seed, "network"),
        ).to(device)
        with torch.inference_mode(False):
            _Steps(network, instructions, asked, problem, engine, config, seed).run(workspace)
        with torch.no_grad():
            columns = network(instructions).cpu()
        return {a: own.contiguous() for a, own in zip(asked, columns, strict=True)}

    def _instructions(self, problem: Problem, engine: Engine, attributes: Sequence[str]) -> Tensor:
        """Return the mean last vector of the training prompts that ask for each attribute, [n, width]."""
        site, records = replace(problem.site, position="prompt_last"), training_prompts(problem.instance)
        found = []
        for attribute in attributes:
            own = [record.prompt for record in records if record.prompt.attribute == attribute]
            own = sampled(own, self.config.instructions, self._seed(problem), "instructions", attribute)
            found.append(engine.collect(own, [site])[site].cpu().double().mean(dim=0))
        return torch.stack(found).float()


@dataclass
class _Steps:
    """One training: its network and what each attribute is asked."""

    network: HyperNetwork
    instructions: Tensor
    asked: Mapping[str, _Asked]
    problem: Problem
    engine: Engine
    config: HyperdasConfig
    seed: int

    def run(self, workspace: Workspace) -> None:
        """Train to the end."""
        config, columns = self.config, self.network.columns
        rest = [p for p in self.network.parameters() if p is not columns]
        optimiser = optim.AdamW(
            [
                {"params": [columns], "lr": config.learning_rate, "weight_decay": 0.0},
                {"params": rest, "lr": config.network_rate, "weight_decay": config.weight_decay},
            ]
        )
        each = max(len(own.pairs) for own in self.asked.values())
        per_epoch = -(-each // config.batch_size)
        total, done = config.epochs * per_epoch, 0
        for epoch in range(config.epochs):
            orders = {attribute: self._order(attribute, epoch) for attribute in self.asked}
            for step in range(per_epoch):
                chosen = {a: order[step % len(order)] for a, order in orders.items()}
                loss = self._step(optimiser, chosen, self._share(done, total))
                done += 1
                workspace.progress(done, total)
            workspace.log({"phase": "train", "step": done, "epoch": epoch + 1, "loss": loss})

    def _share(self, done: int, total: int) -> float:
        """Return which share of their peaks the rates have."""
        return learning_rate_at(
            done, peak=1.0, total_steps=total, warmup_fraction=_WARM_UP, schedule="cosine"
        )

    def _order(self, attribute: str, epoch: int) -> list[list[int]]:
        pairs = [pair.forced for pair in self.asked[attribute].pairs]
        lengths = self.engine.tokens_after(pairs, self.problem.site)
        return batches(
            lengths, self.config.batch_size, python_stream(self.seed, "order", attribute, str(epoch))
        )

    def _step(self, optimiser: optim.Optimizer, chosen: Mapping[str, Sequence[int]], share: float) -> float:
        """Take one step on a batch of each attribute; return the mean loss before it."""
        peaks = (self.config.learning_rate, self.config.network_rate)
        for group, peak in zip(optimiser.param_groups, peaks, strict=True):
            group["lr"] = share * peak
        optimiser.zero_grad(set_to_none=True)
        batch = {a: [self.asked[a].pairs[place] for place in places] for a, places in chosen.items()}
        # Sums in the network are added up in another order by more threads, so it goes apart from the engine.
        with torch.enable_grad(), one_thread():
            columns = self.network(self.instructions)
        loss, slopes = self._judged(batch, columns.detach())
        with one_thread():
            columns.backward(slopes)
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_clip)
            optimiser.step()
            self.network.after_step()
        return loss

    def _judged(self, batch: Mapping[str, Sequence[TrainingPair]], columns: Tensor) -> tuple[float, Tensor]:
        """Return the mean loss of each attribute's pairs under its columns [n, width, size], and its slope in
        them."""
        own = [each.clone().requires_grad_() for each in columns]
        groups = [
            FeaturizedPairs([pair.forced for pair in pairs], Subspace(each))
            for pairs, each in zip(batch.values(), own, strict=True)
        ]
        judged = partial(self.engine.forced_labels, groups, self.problem.site)
        with torch.enable_grad():
            answers = judged()
            leaves = [answer.cross_entropy.detach().requires_grad_() for answer in answers]
            losses = [
                pooled_loss(leaf, self.asked[a].weights.of(pairs))
                for leaf, (a, pairs) in zip(leaves, batch.items(), strict=True)
            ]
            loss = torch.stack(losses).mean()
            add_gradients(self.engine, answers, torch.autograd.grad(loss, leaves), own, judged)
        slopes = [torch.zeros_like(each) if each.grad is None else each.grad for each in own]
        return float(loss.detach()), torch.stack(slopes)


METHOD = Hyperdas
