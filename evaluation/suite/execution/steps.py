"""The steps of a run as jobs: which cells still need work, what they are told, what is reported of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from das.methods.common.base import Method
from das.sites import Site
from evaluation.config.suite import SuiteConfig
from evaluation.records.failures import Failure
from evaluation.suite.cells.context import RunContext
from evaluation.suite.cells.finished import cell_refusal
from evaluation.suite.cells.fit import groups_of
from evaluation.suite.control_runs.controlled import controlled_points
from evaluation.suite.control_runs.results import ControlResults, control_results
from evaluation.suite.execution.jobs import CollectJob, ControlJob, FitJob, JudgeJob
from evaluation.suite.execution.protocol import Executor, Job, JobResult
from evaluation.suite.execution.retrying import Failed, carry_out, result_of
from evaluation.suite.grid import Cell, ChosenCells
from ravel.common.progress import Counted, Finished, Progress
from ravel.terms.schema import split_name


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of one run; what is finished is not done again."""

    context: RunContext
    """What the cells share; the model need not be open."""
    config: SuiteConfig
    """The resolved suite."""
    executor: Executor
    """Carries out the jobs."""
    progress: Progress
    """Told how far the run is."""

    def fit(self, cells: Sequence[Cell]) -> list[Failure]:
        """Fit the cells and judge them on the validation splits; return those that failed."""
        withheld = self.context.instance.without_test()
        wanted = [split_name(generalisation, "val") for generalisation in self.config.generalisations]
        splits = tuple(split for split in wanted if self.context.track.cases(withheld, split))
        sites = self._collect(cells)
        groups = groups_of(cells, self.context, self.config.fit_together)
        jobs = [FitJob(tuple(group), splits, sites) for group in groups if self._undone(group, splits)]
        new = {cell for cell in cells if not self.context.run.cell(cell.cell_id).finished()}
        done = len(cells) - sum(len(job.cells) for job in jobs)

        def ended(end: JobResult) -> None:
            nonlocal done
            fresh = [cell for cell in end.job.cells if cell in new]
            for cell in end.job.cells:
                done += 1
                if cell in new:
                    took = end.seconds / len(fresh)
                    self.progress(Finished(cell.label(), took, done, len(cells)))
            self.progress(Counted("cells", done, len(cells)))

        self.progress(Counted("cells", done, len(cells)))
        return _of_cells(self._carry_out(jobs, ended))

    def judge(self, cells: Sequence[Cell]) -> list[Failure]:
        """Judge cells on the test splits; return those that failed."""
        splits = tuple(split_name(generalisation, "test") for generalisation in self.config.generalisations)
        jobs = [JudgeJob((cell,), splits) for cell in cells if self._undone([cell], splits)]
        done = len(cells) - len(jobs)

        def ended(end: JobResult) -> None:
            nonlocal done
            done += 1
            self.progress(Counted("test", done, len(cells)))

        self.progress(Counted("test", done, len(cells)))
        return _of_cells(self._carry_out(jobs, ended))

    def control(self, chosen: ChosenCells) -> tuple[ControlResults, list[Failure]]:
        """Carry out the controls at the chosen points; return what they came to and those that failed."""
        points = {
            name: controlled_points(chosen, self.config, name) for name in self.config.carried_out_controls()
        }
        jobs = [ControlJob(name, own) for name, own in points.items()]
        failed = self._carry_out(jobs, lambda end: None)
        lost = {failure.job.name: failure for failure in failed if isinstance(failure.job, ControlJob)}
        kept = {name: own for name, own in points.items() if name not in lost}
        results = control_results(kept, self.context, self.config)
        return results, [
            _failure(failure, f"control {name}", self.config.seeds[0]) for name, failure in lost.items()
        ]

    def _carry_out(self, jobs: Sequence[Job], ended: Callable[[JobResult], None]) -> list[Failed]:
        retries = self.config.execution.retries
        return carry_out(jobs, self.executor, retries=retries, progress=self.progress, ended=ended)

    def _collect(self, cells: Sequence[Cell]) -> tuple[Site, ...]:
        """Have every prompt read at every site once, if some fit looks at vectors and some is still to be
        done; return the sites that were read.

        All such fits of a run are given the same stored vectors, whichever were finished before.
        """
        looking = [cell for cell in cells if _looks_at_vectors(self.context.methods.get(cell.method))]
        if all(self.context.run.cell(cell.cell_id).finished() for cell in looking):
            return ()
        sites = tuple(dict.fromkeys(cell.site for cell in looking))
        result_of(CollectJob(sites), self.executor, self.config.execution.retries)
        return sites

    def _undone(self, cells: Sequence[Cell], splits: Sequence[str]) -> bool:
        for cell in cells:
            folder = self.context.run.cell(cell.cell_id)
            if not folder.finished():
                return True
            track = self.context.track
            counts = {split: len(track.cases(self.context.instance, split)) for split in splits}
            judged = all(folder.judged(split, count, track.outcome) for split, count in counts.items())
            if not judged and cell_refusal(cell, self.context) is None:
                return True
        return False


def _looks_at_vectors(method: type[Method]) -> bool:
    return method.needs_labels or method.needs_vectors


def _of_cells(failed: Sequence[Failed]) -> list[Failure]:
    return [
        replace(
            _failure(failure, cell.cell_id, cell.seed),
            **{name: cell.stated()[name] for name in ("method", "attribute", "site", "size")},
        )
        for failure in failed
        for cell in failure.job.cells
    ]


def _failure(failed: Failed, cell: str, seed: int) -> Failure:
    """Return the record of what is no single cell's: every method, attribute, site and size."""
    return Failure(
        cell=cell,
        method="*",
        attribute="*",
        site="*",
        size="*",
        seed=seed,
        stage=failed.job.stage,
        attempts=failed.attempts,
        error=failed.error.words,
        trace=failed.error.trace,
    )
