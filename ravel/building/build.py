"""Builds an instance from facts, templates and a model that answers: ask, filter, label, pair, write down.

It knows the model only as an `Answerer`; the steps themselves live in `ravel.asking` and `ravel.pairing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from ravel.asking.answerer import Answerer, greedy_of
from ravel.asking.chat import framed, start_counts
from ravel.asking.guessing import Fit, fits_of
from ravel.asking.knowledge import Answers, Kept, Questioner, askable
from ravel.asking.knowledge_filter import best_entities, keep_above, keep_best, knowledge_of
from ravel.asking.labelling import Cell, Labeller, unanswered, with_position
from ravel.asking.staged_selection import ask_in_stages
from ravel.building.candidates import Candidates, candidates_of, chosen_attributes, stop_of
from ravel.building.cells import AnsweredCell, LabelledCell, answered_cells, free_cells
from ravel.building.config import BuildConfig
from ravel.building.flips import label_flips
from ravel.building.report import (
    by_partition,
    checked_decoding,
    decoding_warnings,
    entity_counts,
    kept_accuracy,
    pair_counts,
    refuse_guesses,
    refuse_ignorance,
    refuse_no_pairs,
    template_counts,
    warnings_of,
)
from ravel.building.splits import pairs_of_split
from ravel.common.progress import Counted, Progress, silent
from ravel.facts.tables import Tables
from ravel.instance import Instance
from ravel.instance.rows import PromptRecord, prompt_ids
from ravel.terms.mentions import mentions
from ravel.terms.partitions import SPLIT_PLANS
from ravel.terms.schema import TRAIN_SPLIT, InterchangePair


def build_instance(
    tables: Tables, answerer: Answerer, config: BuildConfig | None = None, progress: Progress | None = None
) -> Instance:
    """Build the instance of an entity type for a target model.

    Every template is completed with every entity, or with `selection: staged` while it can still be kept
    (`ask_in_stages`); the model's knowledge ranks both (`keep_best`, `keep_above`); labels are cut from the
    model's own answers, right or wrong; pairs are drawn per split (`draw_pairs`). Nothing is asked twice:
    answers that stopped once they were judged are gone on with where their labels are needed, and
    attribute-free texts, whose labels nobody reads, are not completed. Equal arguments give equal bytes.

    Departures from the published recipe (RAVEL, arXiv 2402.17700, code and public adaptations): entities
    and templates are ranked inside their partition, so that held-out splits are not empty by chance;
    prompts whose entity has no last token of its own, and templates that glue letters to the slot, are left
    out and counted in the manifest, as is what would leak (`ravel.checking.leaks`): what two partitions
    share, and prompts that name their entity twice; no label is dropped for having several words; nothing is
    truncated.

    Raises SuiteError if an attribute is unknown, if the model knows too little for any entity or template
    to stay, or if no pairs can be drawn.
    """
    config = config if config is not None else BuildConfig()
    build = _Build(tables, answerer, config, progress if progress is not None else silent)
    return build.run()


class _Build:
    """One run of the steps; holds what several of them need."""

    def __init__(self, tables: Tables, answerer: Answerer, config: BuildConfig, progress: Progress) -> None:
        self._tables = replace(tables, templates=framed(tables.templates, answerer, every=config.chat))
        self._answerer = answerer
        self._config = config
        self._progress = progress
        self._attributes = chosen_attributes(tables, config)
        self._decoding = checked_decoding(answerer, config)
        self._labels = Labeller(tables.entity_type, answerer)
        self._counts: Counter[str] = Counter()
        self._flips = {"asked": 0, "differ": 0}

    def run(self) -> Instance:
        questioner = self._questioner(self._answerer, self._progress)
        candidates = candidates_of(self._tables, self._attributes, self._config)
        answers = self._shortlisted(candidates, questioner)
        candidates = replace(candidates, entities=answers.entities)
        answers, kept = self._known(answers, candidates, questioner)
        refuse_ignorance(answers, kept)
        fits = fits_of(answers, questioner)
        if not self._config.allow_ignorance:
            refuse_guesses(answers, kept, fits)
        # Now that it is known what is labelled, what was only judged so far is completed.
        answers = questioner.finish(answers, kept)
        answered = answered_cells(answers, kept)
        labelled = self._labelled(answered)
        free = self._unnamed(self._with_position(free_cells(candidates, kept), stage="positions of texts"))
        pairs = self._pairs(labelled, free)
        refuse_no_pairs(pairs, answers, kept, self._counts)
        records = [known.record for known in labelled] + [unanswered(cell) for cell in free]
        self._flips = self._asked_again(answered, self._answerer)
        if self._decoding:
            self._decoding["greedy_labels"] = self._asked_again(answered, greedy_of(self._answerer))
        used = prompt_ids(chain.from_iterable(pairs.values()))
        records = [record for record in records if record.prompt_id in used]
        return self._instance(candidates, answers, kept, records, pairs, fits)

    def _asked_again(self, answered: Sequence[AnsweredCell], answerer: Answerer) -> dict[str, int]:
        return label_flips(
            answered,
            self._questioner(answerer, silent),
            self._labels,
            sample=self._config.flip_sample,
            seed=self._config.seed,
            progress=self._progress,
        )

    def _questioner(self, answerer: Answerer, progress: Progress) -> Questioner:
        return Questioner(
            self._tables.entity_type,
            answerer,
            max_new_tokens=self._config.max_new_tokens,
            mode=self._config.match,
            progress=progress,
        )

    def _shortlisted(self, candidates: Candidates, questioner: Questioner) -> Answers:
        """Ask one training template per attribute about every entity; return the answers about those with
        most right ones, or about all candidates none if there is no shortlist."""
        answers = questioner.nothing_asked(candidates.asking, candidates.entities)
        if self._config.shortlist is None or self._config.shortlist >= len(candidates.entities):
            return answers
        training = [(row, t) for row, t in enumerate(candidates.asking) if t.partition == TRAIN_SPLIT]
        first = {t.attribute: row for row, t in reversed(training)}
        wanted = np.zeros_like(answers.asked)
        wanted[list(first.values())] = True
        wanted &= askable(answers.templates, answers.entities)
        answers = questioner.ask_more(answers, wanted, stop="judged", stage="shortlist")
        columns = best_entities(answers, self._config.shortlist, seed=self._config.seed)
        refuse_ignorance(answers, Kept(tuple(first.values()), tuple(columns)))
        return answers.of_entities(columns)

    def _known(
        self, answers: Answers, candidates: Candidates, questioner: Questioner
    ) -> tuple[Answers, Kept]:
        """Ask what decides who is kept; return all answers and what is kept."""
        if self._config.selection == "staged":
            staged = ask_in_stages(
                questioner,
                answers,
                entities=self._config.keep_entities,
                templates_per_attribute=self._config.keep_templates,
            )
            return staged.answers, self._best(staged.finalists())
        wanted = askable(answers.templates, answers.entities)
        answers = questioner.ask_more(answers, wanted, stop=stop_of(candidates, self._config))
        if self._config.samples:
            answers = questioner.sample(
                answers,
                self._config.samples,
                temperature=self._config.sample_temperature,
                seed=self._config.seed,
            )
        if self._config.selection == "threshold":
            return answers, keep_above(answers, self._config.accuracy_threshold)
        return answers, self._best(answers)

    def _best(self, answers: Answers) -> Kept:
        return keep_best(
            answers,
            entities=self._config.keep_entities,
            templates_per_attribute=self._config.keep_templates,
            templates_overall=self._config.keep_templates_overall,
            templates_always=self._config.keep_templates_always,
            seed=self._config.seed,
        )

    def _labelled(self, answered: Sequence[AnsweredCell]) -> list[LabelledCell]:
        """Return the prompts with their labels, without those that have no label or no position."""
        by_id = {one.cell.prompt_id: one for one in answered}
        labelled = []
        for cell in self._unnamed(self._with_position([one.cell for one in answered], stage="positions")):
            one = by_id[cell.prompt_id]
            record = self._labels.record(cell, one.answer, correct=one.correct)
            self._counts["without_label"] += record is None
            if record is not None:
                labelled.append(LabelledCell(cell, record))
        self._counts["labelled"] = len(labelled)
        return labelled

    def _with_position(self, cells: Sequence[Cell], *, stage: str) -> list[Cell]:
        placed = with_position(cells, self._answerer, progress=self._progress, stage=stage)
        self._counts["without_position"] += len(cells) - len(placed)
        return placed

    def _unnamed(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return the cells whose template does not name the entity a second time, outside the slot."""
        unnamed = [cell for cell in cells if not mentions(cell.template.text, cell.facts.entity)]
        self._counts["named_twice"] += len(cells) - len(unnamed)
        return unnamed

    def _pairs(
        self, labelled: Sequence[LabelledCell], free: Sequence[Cell]
    ) -> dict[str, tuple[InterchangePair, ...]]:
        found = {}
        for done, plan in enumerate(SPLIT_PLANS):
            self._progress(Counted("pairs", done, len(SPLIT_PLANS)))
            found[plan.name] = pairs_of_split(plan, labelled, free, self._attributes, self._config)
        self._progress(Counted("pairs", len(SPLIT_PLANS), len(SPLIT_PLANS)))
        return found

    def _instance(
        self,
        candidates: Candidates,
        answers: Answers,
        kept: Kept,
        records: Sequence[PromptRecord],
        pairs: Mapping[str, Sequence[InterchangePair]],
        fits: Mapping[str, Fit],
    ) -> Instance:
        accuracy, knowledge = kept_accuracy(answers, kept), knowledge_of(answers, kept)
        known = {name: of["kept"]["accuracy"] for name, of in knowledge["attributes"].items()}
        accuracies = {name: known.get(name) for name in self._attributes}
        templates = [*(answers.templates[row] for row in kept.templates), *candidates.free]
        return Instance.from_parts(
            entity_type=self._tables.entity_type.name,
            model_name=self._answerer.name,
            model_fingerprint=self._answerer.fingerprint,
            instrument=self._answerer.instrument,
            prompts=records,
            pairs=pairs,
            attribute_order=self._attributes,
            seed=self._config.seed,
            config=self._config.model_dump(mode="json"),
            counts={
                "entities": entity_counts(self._tables, answers, kept),
                "templates": template_counts(answers, kept),
                "attribute_free_texts": len(candidates.free),
                "templates_with_glued_letters": list(candidates.glued),
                **({"left_out_as_doubles": list(candidates.twice)} if candidates.twice else {}),
                **start_counts([*candidates.asking, *candidates.free], self._answerer),
                "prompts": self._prompt_counts(answers, records),
                "pairs": {name: pair_counts(found) for name, found in pairs.items()},
                "label_flips": self._flips,
            },
            knowledge={
                **knowledge,
                "kept_accuracy": accuracy,
                **self._sampled(),
                **({"decoding": self._decoding} if self._decoding else {}),
                "warnings": [
                    *warnings_of(accuracies, accuracy, fits, pairs, self._flips),
                    *decoding_warnings(self._decoding),
                ],
            },
            entities=by_partition([answers.entities[column] for column in kept.entities]),
            templates=[
                {
                    "template": t.text,
                    "attribute": t.attribute,
                    "partition": t.partition,
                    **({"chat": True} if t.chat else {}),
                }
                for t in templates
            ],
        )

    def _sampled(self) -> dict[str, Any]:
        config = self._config
        if not config.samples:
            return {}
        how = {"count": config.samples, "temperature": config.sample_temperature, "seed": config.seed}
        return {"samples": how}

    def _prompt_counts(self, answers: Answers, records: Sequence[PromptRecord]) -> dict[str, int]:
        return {
            "asked": int(answers.asked.sum()),
            "right": int(answers.right.sum()),
            "labelled": self._counts["labelled"],
            "dropped_without_label": self._counts["without_label"],
            "dropped_without_position": self._counts["without_position"],
            **({"dropped_named_twice": named} if (named := self._counts["named_twice"]) else {}),
            "used": len(records),
        }
