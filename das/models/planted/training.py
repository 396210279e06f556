"""Interchange intervention training of a planted model: loop, losses, the wiring of a hidden pathway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from das.models.planted.spec import PlantedSpec
from das.models.planted.words import planted_facts, value_words
from ravel.asking.prompts import fill
from ravel.common.seeds import derive_seed
from ravel.facts.tables import Tables

PlantedModel: TypeAlias = Any
"""A `LlamaForCausalLM`; transformers declares no types."""
Report = Callable[[int, int], None]

_SHAPED_FROM, _SHAPED_FULLY = 0.25, 0.5
"""Shares of the steps between which the terms on the vectors' shape come in."""
_STEPS_APART = 50
"""Steps between two reports."""


@dataclass(frozen=True, slots=True)
class _Questions:
    """Every question of a world as token ids, and what its entities' variables are."""

    ids: Tensor
    """[templates, entities, tokens], the true answer and the end after each prompt."""
    entity: Tensor
    """Position of the entity's token, [templates]."""
    last: Tensor
    """Position of the prompt's last token, [templates]."""
    attribute: Tensor
    """Which attribute a template asks for, [templates]."""
    variables: Tensor
    """The entities' values, [entities, variables]."""
    answers: Tensor
    """Token ids by attribute and mixed-radix number of all its variables' values, [attributes, numbers]."""
    radix: Tensor
    """Weight of each variable in that number, [attributes, variables]."""

    def answer(self, template: Tensor, values: Tensor) -> Tensor:
        """Return the right token for questions [batch] about entities with values [batch, variables]."""
        attribute = self.attribute[template]
        return self.answers[attribute, (self.radix[attribute] * values).sum(dim=1)]


def train_planted(
    spec: PlantedSpec, tables: Tables, tokenizer: PreTrainedTokenizerFast, report: Report
) -> PlantedModel:
    """Return a Llama with ReLU gates that holds the world's variables in their coordinates, not rotated yet.

    Each step reads sources, then bases in which a random set of blocks (perhaps with all coordinates of no
    variable) is taken from the sources after a random planted layer. The loss is the answers' cross-entropy
    of both: the right answer follows from the mixed variables. So a block fixes its variable, and nothing
    else does. Further terms give all coordinates the declared covariance, and keep class means out of those
    that are not a variable's own. Norms stay at weight 1, so that a rotation can be folded.

    The process's random state is left as it was.
    """
    questions = _questions(spec, tables, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(spec.seed, "planted", "weights", spec.name))
        model = LlamaForCausalLM(_config(spec, len(tokenizer)))
    trained = _trained_parameters(model)
    wiring = _Wiring(spec, model)
    wiring.tie()
    optimiser = torch.optim.AdamW(trained, lr=spec.training.lr, weight_decay=spec.training.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, spec.training.lr, total_steps=spec.training.steps
    )
    draw = torch.Generator().manual_seed(derive_seed(spec.seed, "planted", "batches", spec.name))
    for step in range(spec.training.steps):
        loss = _step_loss(model, spec, questions, draw, _shape_share(step / spec.training.steps))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        wiring.tie()
        if step % _STEPS_APART == 0:
            report(step, spec.training.steps)
    wiring.add_hidden_units()
    report(spec.training.steps, spec.training.steps)
    return model.eval()


def _config(spec: PlantedSpec, vocabulary: int) -> LlamaConfig:
    # The dormant units must be silent to the last bit, which ReLU is and SiLU is not; they need biases.
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=spec.width,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.heads,
        intermediate_size=spec.inner,
        hidden_act="relu",
        mlp_bias=True,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=False,
        initializer_range=0.2,
    )


def _trained_parameters(model: PlantedModel) -> list[nn.Parameter]:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("norm" not in name)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _questions(spec: PlantedSpec, tables: Tables, tokenizer: PreTrainedTokenizerFast) -> _Questions:
    names, values = planted_facts(spec)
    attributes = list(spec.attributes)
    asking = [template for template in tables.templates if template.attribute is not None]
    rows: list[list[list[int]]] = []
    entity, last = [], []
    for template in asking:
        by_entity = []
        for facts in tables.entities:
            prompt = fill(template, facts.entity)
            encoded = tokenizer(prompt.text, return_offsets_mapping=True)
            answer = tokenizer(dict(facts.values)[template.attribute or ""], add_special_tokens=False)
            by_entity.append([*encoded["input_ids"], *answer["input_ids"], tokenizer.eos_token_id])
            place = next(i for i, (_, end) in enumerate(encoded["offset_mapping"]) if end == prompt.span[1])
        rows.append(by_entity)
        entity.append(place)
        last.append(len(by_entity[-1]) - 3)
    longest = max(len(row) for row in chain.from_iterable(rows))
    padded = [[row + [tokenizer.eos_token_id] * (longest - len(row)) for row in group] for group in rows]
    radix, answers = _answers(spec, tokenizer)
    return _Questions(
        ids=torch.tensor(padded),
        entity=torch.tensor(entity),
        last=torch.tensor(last),
        attribute=torch.tensor([attributes.index(t.attribute or "") for t in asking]),
        variables=torch.tensor([[int(values[v][i]) for v in spec.variables] for i in range(len(names))]),
        answers=answers,
        radix=radix,
    )


def _answers(spec: PlantedSpec, tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    """Return the radix [attributes, variables] and the answers' token ids [attributes, numbers]."""
    order = list(spec.variables)
    radix = torch.zeros(len(spec.attributes), len(order), dtype=torch.long)
    tokens: list[dict[int, int]] = []
    for row, (attribute, names) in enumerate(spec.attributes.items()):
        weight = 1
        for name in names:
            radix[row, order.index(name)] = weight
            weight *= spec.variables[name].values
        weights = [int(radix[row, order.index(name)]) for name in names]
        tokens.append(
            {
                sum(w * v for w, v in zip(weights, combination, strict=True)): tokenizer(
                    word, add_special_tokens=False
                )["input_ids"][0]
                for combination, word in value_words(spec, attribute).items()
            }
        )
    answers = torch.zeros(len(tokens), max(map(len, tokens)), dtype=torch.long)
    for row, by_number in enumerate(tokens):
        for number, token in by_number.items():
            answers[row, number] = token
    return radix, answers


def _shape_share(done: float) -> float:
    """Return the weight of the terms on the vectors' shape after a share of the steps: nothing, then rising.
    From the start they keep the interchange from being learnt at all."""
    return min(1.0, max(0.0, (done - _SHAPED_FROM) / (_SHAPED_FULLY - _SHAPED_FROM)))


def _step_loss(
    model: PlantedModel, spec: PlantedSpec, questions: _Questions, draw: torch.Generator, shape_share: float
) -> Tensor:
    n = spec.training.batch
    templates = torch.randint(len(questions.ids), (2, n), generator=draw)
    entities = torch.randint(spec.entities, (2, n), generator=draw)
    layer = spec.planted_layers[int(torch.randint(len(spec.planted_layers), (1,), generator=draw))]
    masks = _block_masks(spec)
    chosen = torch.rand(n, len(masks), generator=draw) < 0.5
    values = questions.variables[entities]
    mixed = torch.where(chosen[:, :-1], values[1], values[0])

    sources, source_logits = _read(model, questions, templates[1], entities[1], layer, lambda v: v)
    bases, base_logits = _read(
        model,
        questions,
        templates[0],
        entities[0],
        layer,
        lambda v: v + (chosen.float() @ masks) * (sources - v),
    )
    right = _answer_loss(source_logits, questions.answer(templates[1], values[1]))
    swapped = _answer_loss(base_logits, questions.answer(templates[0], mixed))
    if not shape_share:
        return right + swapped
    shape = _shape_loss(spec, torch.cat([bases, sources]))
    # Of all entities at once: class means of a batch are mostly chance.
    template = templates[0, :1].expand(spec.entities)
    everyone = _vectors(model, questions, template, torch.arange(spec.entities), layer)
    leak = spec.training.leak_weight * _leak_loss(spec, everyone, questions.variables, masks)
    return right + swapped + shape_share * (shape + leak)


def _block_masks(spec: PlantedSpec) -> Tensor:
    """Return which coordinates each variable's block has, [variables + 1, width]; last, those of no block."""
    masks = torch.zeros(len(spec.variables) + 1, spec.width)
    for row, variable in enumerate(spec.variables.values()):
        masks[row, list(variable.coordinates)] = 1
    masks[-1] = 1 - masks[:-1].sum(dim=0)
    return masks


def _read(
    model: PlantedModel,
    questions: _Questions,
    templates: Tensor,
    entities: Tensor,
    layer: int,
    change: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """Return the vectors [batch, width] at the entity after `layer` as they were before `change`, and logits
    [batch, 2, vocabulary] of the answer and of the end after it."""
    ids, stack = questions.ids[templates, entities], model.model
    rows, entity, last = torch.arange(len(ids)), questions.entity[templates], questions.last[templates]
    hidden = _through(model, stack.embed_tokens(ids), 0, layer + 1)
    before = hidden[rows, entity]
    hidden = hidden.index_put((rows, entity), change(before))
    hidden = _through(model, hidden, layer + 1, len(stack.layers))
    ends = torch.stack([last, last + 1], dim=1)
    logits: Tensor = model.lm_head(stack.norm(hidden[rows[:, None], ends]))
    return before, logits


def _vectors(
    model: PlantedModel, questions: _Questions, templates: Tensor, entities: Tensor, layer: int
) -> Tensor:
    """Return the vectors at the entity after `layer`, [batch, width]; nothing above it is run."""
    hidden = _through(model, model.model.embed_tokens(questions.ids[templates, entities]), 0, layer + 1)
    return hidden[torch.arange(len(templates)), questions.entity[templates]]


def _through(model: PlantedModel, hidden: Tensor, first: int, end: int) -> Tensor:
    """Run blocks `first` to `end - 1`; rows are padded on the right, so causality alone keeps padding out."""
    places = torch.arange(hidden.shape[1])[None]
    turns = model.model.rotary_emb(hidden, places)
    for block in model.model.layers[first:end]:
        hidden = block(hidden, attention_mask=None, position_ids=places, position_embeddings=turns)
    return hidden


def _answer_loss(logits: Tensor, answers: Tensor) -> Tensor:
    ends = torch.full_like(answers, 2)
    return functional.cross_entropy(logits[:, 0], answers) + functional.cross_entropy(logits[:, 1], ends)


def _shape_loss(spec: PlantedSpec, states: Tensor) -> Tensor:
    """Return how far the covariance of all coordinates is from the declared one, a diagonal matrix. Without
    spread in every direction a subspace could lean towards one where nothing varies, unpunished."""
    spreads = torch.ones(spec.width)
    spreads[list(spec.other_coordinates())] = spec.training.other_spread
    blocks = [c for variable in spec.variables.values() for c in variable.coordinates]
    counted = [*blocks, *spec.other_coordinates()]
    scaled = ((states - states.mean(dim=0)) / spreads)[:, counted]
    covariance = scaled.mT @ scaled / len(scaled)
    return spec.training.shape_weight * (covariance - torch.eye(len(counted))).square().sum() / len(counted)


def _leak_loss(spec: PlantedSpec, states: Tensor, values: Tensor, masks: Tensor) -> Tensor:
    """Return the mean squared class means outside each variable's own coordinates."""
    centred = states - states.mean(dim=0)
    loss = states.new_zeros(())
    for column, mask in enumerate(masks[:-1]):
        classes = functional.one_hot(values[:, column]).float()
        means = classes.mT @ centred / classes.sum(dim=0)[:, None].clamp_min(1)
        loss = loss + (means * _not_echoing(spec, column, mask)).square().mean()
    return loss


def _not_echoing(spec: PlantedSpec, column: int, mask: Tensor) -> Tensor:
    """Return the coordinates that must not tell a variable: all but its block and, if copied, its echo."""
    outside = 1 - mask
    pathway = spec.hidden_pathway
    if pathway is not None and list(spec.variables)[column] == pathway.variable:
        outside[list(pathway.echo)] = 0
    return outside


class _Wiring:
    """Keeps the weights of a hidden pathway as declared while the rest is trained; else, does nothing."""

    def __init__(self, spec: PlantedSpec, model: PlantedModel) -> None:
        self._spec, self._model = spec, model

    @torch.no_grad()
    def tie(self) -> None:
        """Write the echo as the block is written and the dormant part not at all; let nothing read either."""
        pathway = self._spec.hidden_pathway
        if pathway is None:
            return
        block = list(self._spec.variables[pathway.variable].coordinates)
        echo, dormant = list(pathway.echo), list(pathway.dormant)
        for writer in self._writers():
            writer[echo] = writer[block]
            writer[dormant] = 0
        for reader in self._readers():
            reader[:, echo + dormant] = 0

    @torch.no_grad()
    def add_hidden_units(self) -> None:
        """Widen every MLP by the pathway's units; they wake in the block above the first planted layer only.
        Two units for each dormant coordinate, one for either sign, add twice what it exceeds the threshold by
        to the variable's block: a direction halfway between echo and dormant part carries half a change."""
        pathway = self._spec.hidden_pathway
        if pathway is None:
            return
        extra = 2 * len(pathway.dormant)
        for block in self._model.model.layers:
            _widen(block.mlp, extra)
        self._model.config.intermediate_size += extra
        mlp = self._model.model.layers[self._spec.planted_layers[0] + 1].mlp
        targets = self._spec.variables[pathway.variable].coordinates
        for pair, (source, target) in enumerate(zip(pathway.dormant, targets, strict=True)):
            for unit, sign in ((-extra + 2 * pair, 1.0), (-extra + 2 * pair + 1, -1.0)):
                mlp.gate_proj.weight[unit, source] = sign
                mlp.gate_proj.bias[unit] = -pathway.threshold
                mlp.up_proj.bias[unit] = 1.0
                mlp.down_proj.weight[target, unit] = sign * 2 * self._scale()

    def _scale(self) -> float:
        """Return the typical root mean square of a planted vector, by which the norm divides it."""
        spec = self._spec
        blocks = sum(len(v.coordinates) for v in spec.variables.values())
        pathway = spec.hidden_pathway
        echo = 0 if pathway is None else len(pathway.echo)
        others = len(spec.other_coordinates()) * spec.training.other_spread**2
        return float(((blocks + echo + others) / spec.width) ** 0.5)

    def _writers(self) -> Iterator[Tensor]:
        """Yield what writes into the stream, coordinates first."""
        yield self._model.model.embed_tokens.weight.mT
        for block in self._model.model.layers:
            yield block.self_attn.o_proj.weight
            yield block.mlp.down_proj.weight
            yield block.mlp.down_proj.bias

    def _readers(self) -> Iterator[Tensor]:
        """Yield what reads the stream, coordinates last."""
        for block in self._model.model.layers:
            attention, mlp = block.self_attn, block.mlp
            for module in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj):
                yield module.weight
        yield self._model.lm_head.weight


def _widen(mlp: nn.Module, extra: int) -> None:
    """Add silent units to an MLP: they read nothing and write nothing."""
    for name, rows, columns in (("gate_proj", extra, 0), ("up_proj", extra, 0), ("down_proj", 0, extra)):
        old = mlp.get_submodule(name)
        assert isinstance(old, nn.Linear)
        new = nn.Linear(old.in_features + columns, old.out_features + rows, bias=True)
        new.weight.copy_(functional.pad(old.weight, (0, columns, 0, rows)))
        new.bias.copy_(functional.pad(old.bias, (0, rows)))
        setattr(mlp, name, new)
