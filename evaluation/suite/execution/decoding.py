"""Chooses how a build decodes: greedily, or by sharp tokens where that answers validation entities better."""

from __future__ import annotations

from itertools import product

from das.diagnostics.sharp_decoding import SharpAnswerer, SharpDecoding
from das.engine.base.protocol import Engine
from ravel.asking.knowledge import Questioner
from ravel.building.candidates import candidates_of, chosen_attributes
from ravel.building.config import BuildConfig
from ravel.common.progress import Counted, Progress, silent
from ravel.common.seeds import evenly_spread
from ravel.facts.tables import Tables
from ravel.terms.schema import TRAIN_SPLIT, EntityFacts, Partition, Template

ALPHAS = (0.2, 0.5, 1.0, 2.0)
"""Weights of the contextual entropy that are tried."""
_LAYERS, _ENTITIES, _TEMPLATES = 8, 40, 4


Questions = tuple[list[Template], list[EntityFacts]]
"""Templates, each to be filled with every entity that it may meet."""


def tried_decodings(n_layers: int) -> list[SharpDecoding]:
    """Return greedy decoding, then every alpha at up to eight layers spread over the model."""
    layers = evenly_spread(range(n_layers), _LAYERS)
    return [SharpDecoding(0, 0.0), *(SharpDecoding(*how) for how in product(layers, ALPHAS))]


def questions_of(tables: Tables, config: BuildConfig, partition: Partition, entities: int) -> Questions:
    """Return the first training templates of each attribute, and entities of a partition spread over it."""
    candidates = candidates_of(tables, chosen_attributes(tables, config), config)
    training = [t for t in candidates.asking if t.partition == TRAIN_SPLIT]
    templates = [
        t
        for name in chosen_attributes(tables, config)
        for t in [t for t in training if t.attribute == name][:_TEMPLATES]
    ]
    return templates, evenly_spread([f for f in candidates.entities if f.partition == partition], entities)


def sharpest(
    engine: Engine, tables: Tables, config: BuildConfig, progress: Progress = silent
) -> SharpAnswerer:
    """Return the model by the decoding that gets most validation questions right; of equal ones the first,
    which is greedy.

    No test entity and no held-out template is asked. Raises SuiteError where the model's layers or its
    vocabulary projection can't be read.
    """
    tried = tried_decodings(engine.target.n_layers)
    templates, entities = questions_of(tables, config, "val", _ENTITIES)
    shares = {}
    for done, how in enumerate(tried):
        progress(Counted("decodings", done, len(tried)))
        questioner = Questioner(
            tables.entity_type,
            SharpAnswerer(engine, how),
            max_new_tokens=config.max_new_tokens,
            mode=config.match,
        )
        answers = questioner.ask(templates, entities, stop="judged")
        shares[how] = float(answers.right.sum() / max(1, answers.asked.sum()))
    progress(Counted("decodings", len(tried), len(tried)))
    best = max(tried, key=shares.__getitem__)
    chosen = {"tried": len(tried), "greedy": shares[tried[0]], "sharp": shares[best]}
    return SharpAnswerer(engine, best, {"validation": chosen})
