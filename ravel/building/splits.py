"""The pairs of a split, drawn from labelled prompts and attribute-free texts; it asks no model."""

from __future__ import annotations

from collections.abc import Sequence

from ravel.asking.labelling import Cell
from ravel.building.cells import LabelledCell
from ravel.building.config import BuildConfig
from ravel.common.seeds import grouped
from ravel.instance.rows import source_kind_of
from ravel.pairing.pairs import DrawRules, Question, Sources, draw_pairs, interleave
from ravel.terms.mentions import mentions
from ravel.terms.partitions import SplitPlan
from ravel.terms.schema import SOURCE_KINDS, TRAIN_SPLIT, InterchangePair, SourceKind


def pairs_of_split(
    plan: SplitPlan,
    labelled: Sequence[LabelledCell],
    free: Sequence[Cell],
    attributes: Sequence[str],
    config: BuildConfig,
) -> tuple[InterchangePair, ...]:
    """Draw each attribute's pairs from the prompts that belong to the split; attributes take turns."""
    here = [known for known in labelled if _belongs(known.cell, plan)]
    texts = [cell for cell in free if _belongs(cell, plan)]
    rules = DrawRules(
        total=config.train_pairs if plan.name == TRAIN_SPLIT else config.evaluation_pairs,
        shares=config.source_shares.by_kind(),
        smoothing=config.label_smoothing,
        label_tokens=config.label_tokens,
    )
    barred = _barred([*(known.cell for known in here), *texts])
    groups = [
        draw_pairs(
            _questions(here, attribute),
            _sources(here, texts, attribute),
            rules,
            seed=config.seed,
            split=plan.name,
            attribute=attribute,
            barred=barred,
        )
        for attribute in attributes
    ]
    return interleave(groups, split=plan.name)


def _belongs(cell: Cell, plan: SplitPlan) -> bool:
    return cell.template.partition == plan.templates and cell.facts.partition == plan.entities


def _barred(cells: Sequence[Cell]) -> dict[str, frozenset[str]]:
    """Return, for each entity that a template names outside its slot, the prompts of such templates."""
    by_text = grouped(cells, lambda cell: cell.template.text)
    barred = {
        entity: frozenset(c.prompt_id for text, own in by_text.items() if mentions(text, entity) for c in own)
        for entity in {cell.facts.entity: None for cell in cells}
    }
    return {entity: ids for entity, ids in barred.items() if ids}


def _questions(here: Sequence[LabelledCell], attribute: str) -> list[Question]:
    own = [known.record for known in here if known.cell.template.attribute == attribute]
    by_template = grouped(own, lambda record: record.prompt.template)
    return [Question(template, tuple(records)) for template, records in by_template.items()]


def _sources(here: Sequence[LabelledCell], texts: Sequence[Cell], attribute: str) -> Sources:
    sources: dict[SourceKind, dict[str, list[str]]] = {kind: {} for kind in SOURCE_KINDS}
    for cell in [*(known.cell for known in here), *texts]:
        kind = source_kind_of(attribute, cell.template.attribute)
        sources[kind].setdefault(cell.facts.entity, []).append(cell.prompt_id)
    return sources
