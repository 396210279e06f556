"""Submissions: packed from a run, refused when tampered with, judged to the bit, lies found by the model."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import submission_edits as edits
import submission_mutations as tampering
import torch
from cli_world import FAST, World, ravel, suite_text
from outcome_world import TRACK
from same_bytes import bytes_in
from submission_archives import names_in_archives

from das.featurizers import Subspace
from das.featurizers.storage import load_featurizer, save_featurizer
from evaluation.config.target import TargetConfig
from evaluation.exchange.submission import SubmissionInfo, pack_run, score_submission
from evaluation.records.scores import Outcome, read_averages, read_comparisons, read_scores
from evaluation.verify.checks.files import check_outcomes
from evaluation.verify.checks.rescoring import rescored
from evaluation.verify.submission.check import check_submission
from evaluation.verify.submission.limits import LIMITS, Limits
from evaluation.verify.submission.summing_up import summed_up
from evaluation.verify.submission.unpack import opened
from ravel.common.errors import SuiteError
from ravel.instance import Instance


@dataclass(frozen=True)
class Submitted:
    """A run and what was submitted of it."""

    run: Path
    """A finished run of `das` and floors."""
    folder: Path
    """The submission, unpacked."""
    instance: Instance
    """The instance, in memory."""


@pytest.fixture(scope="module")
def submitted(world: World, tmp_path_factory: pytest.TempPathFactory) -> Submitted:
    root = tmp_path_factory.mktemp("submission")
    suite = root / "suite.yaml"
    suite.write_text(
        suite_text(
            world,
            methods=[{"name": "das", "config": FAST}, "pca"],
            generalisations=["context"],
            floors=False,
        )
    )
    done = ravel("run", suite, "--out", root / "run")
    assert done.exit_code == 0, done.output
    done = ravel("submit", root / "run", "--out", root / "submission", "--name", "Ours", "--author", "A. B.")
    assert done.exit_code == 0, done.output
    return Submitted(root / "run", root / "submission", Instance.load(world.instance))


@pytest.fixture
def copy(submitted: Submitted, tmp_path: Path) -> Path:
    return Path(shutil.copytree(submitted.folder, tmp_path / "copy"))


def problems_of(path: Path, instance: Instance | None, limits: Limits = LIMITS) -> tuple[str, ...]:
    with opened(path, limits) as folder:
        return check_submission(folder, instance, limits=limits).problems


def zip_of(folder: Path, path: Path, *, wrap: str = "", store_folders: bool = False) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for file in sorted(folder.rglob("*")):
            if file.is_file() or store_folders:
                made.write(file, f"{wrap}{file.relative_to(folder).as_posix()}")
    return path


class TestPacking:
    def test_what_is_packed_is_sound(self, submitted: Submitted) -> None:
        found = check_submission(submitted.folder, submitted.instance)
        assert found.problems == ()
        assert found.submission is not None
        assert found.submission.methods == ("das", "pca")
        assert found.submission.authors == ("A. B.",)
        assert {claim.partition for claim in found.claims} == {"test"}

    def test_only_json_and_safetensors_are_packed(self, submitted: Submitted) -> None:
        files = [path for path in submitted.folder.rglob("*") if path.is_file()]
        assert {path.suffix for path in files} == {".json", ".jsonl", ".safetensors"}

    def test_a_zip_holds_the_same_and_comes_out_the_same(self, submitted: Submitted, tmp_path: Path) -> None:
        about = SubmissionInfo("Ours", ("A. B.",))
        packed = [pack_run(submitted.run, tmp_path / name, about) for name in ("a.zip", "b.zip")]
        assert packed[0] == packed[1]
        assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
        with opened(tmp_path / "a.zip") as folder:
            assert bytes_in(folder) == bytes_in(submitted.folder)
        assert not folder.exists()

    def test_archives_of_common_tools_are_read(self, submitted: Submitted, tmp_path: Path) -> None:
        plain = zip_of(submitted.folder, tmp_path / "plain.zip", store_folders=True)
        wrapped = zip_of(submitted.folder, tmp_path / "wrapped.ZIP", wrap="my-submission/")
        assert [problems_of(path, submitted.instance) for path in (plain, wrapped)] == [(), ()]

    @pytest.mark.parametrize("ending", ["tar.gz", "tgz", "tar", "7z"])
    def test_other_archives_are_neither_read_nor_written(
        self, submitted: Submitted, tmp_path: Path, ending: str
    ) -> None:
        packed = zip_of(submitted.folder, tmp_path / "s.zip").rename(tmp_path / f"s.{ending}")
        with pytest.raises(SuiteError, match=r"a folder, or a file that ends in \.zip; got another file"):
            problems_of(packed, submitted.instance)
        with pytest.raises(SuiteError, match=r"a folder or a \.zip for --out"):
            pack_run(submitted.run, tmp_path / f"new.{ending}", SubmissionInfo("x"))
        assert [path.name for path in tmp_path.iterdir()] == [packed.name]

    def test_methods_can_be_chosen_and_must_be_known(self, submitted: Submitted, tmp_path: Path) -> None:
        found = pack_run(submitted.run, tmp_path / "one", SubmissionInfo("One"), methods=("pca",))
        assert found.methods == ("pca",)
        with pytest.raises(SuiteError, match="did you mean 'das'"):
            pack_run(submitted.run, tmp_path / "two", SubmissionInfo("Two"), methods=("dsa",))
        assert not (tmp_path / "two").exists()

    def test_an_unfinished_run_is_refused(self, submitted: Submitted, tmp_path: Path) -> None:
        run = shutil.copytree(submitted.run, tmp_path / "run")
        (run / "scores.jsonl").unlink()
        with pytest.raises(SuiteError, match="the run is not finished"):
            pack_run(run, tmp_path / "out.zip", SubmissionInfo("x"))
        assert not (tmp_path / "out.zip").exists()

    def test_a_run_that_contradicts_itself_is_not_packed(self, submitted: Submitted, tmp_path: Path) -> None:
        run = shutil.copytree(submitted.run, tmp_path / "run")
        chosen = next(
            r for r in read_scores(run / "scores.jsonl") if r.method == "das" and r.partition == "test"
        )
        path = run / "cells" / chosen.cell / "outcomes" / "context_test.jsonl"
        path.write_text(path.read_text().replace('"said_unchanged": true', '"said_unchanged": false'))
        with pytest.raises(SuiteError, match="sound submission"):
            pack_run(run, tmp_path / "out", SubmissionInfo("x"))
        assert not (tmp_path / "out").exists()

    def test_an_attribute_that_the_run_left_out_is_named_with_a_reason(
        self, submitted: Submitted, tmp_path: Path
    ) -> None:
        run = shutil.copytree(submitted.run, tmp_path / "run")
        rows = [
            r for r in read_scores(run / "scores.jsonl") if r.attribute == "Birthplace" and r.method == "das"
        ]
        (run / "scores.jsonl").write_text("".join(json.dumps(row.to_json()) + "\n" for row in rows))
        found = pack_run(run, tmp_path / "out", SubmissionInfo("x"))
        assert [(gap.method, gap.attribute) for gap in found.without] == [("das", "Profession")]
        assert problems_of(tmp_path / "out", submitted.instance) == ()


def as_of_version_1(folder: Path, instance: Instance) -> None:
    """Make a submission what it was before templates had names."""
    pairs = {pair.pair_id: pair for pair in instance.pairs("context_test")}

    def spell(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["base_template"] = pairs[row["pair_id"]].base_template

    for name in edits.outcome_files(folder):
        edits.lines(name, spell)(folder)
    edits.manifest(lambda manifest: manifest.pop("build"))(folder)
    edits.manifest(edits.put(schema_version=1))(folder)


class TestTexts:
    """No text of a template or of a prompt leaves with a submission, and nothing is lost by it."""

    def test_no_file_holds_the_text_of_a_template_or_of_a_prompt(self, submitted: Submitted) -> None:
        texts = {row["template"] for row in submitted.instance.manifest.templates}
        texts |= {record.prompt.text for record in submitted.instance.prompts()}
        said = {
            path.relative_to(root).as_posix(): path.read_bytes().decode(errors="replace")
            for root in (submitted.run, submitted.folder)
            for path in root.rglob("*")
            if path.is_file()
        }
        files = edits.files_of(submitted.folder)
        assert [name for name in files if any(text in said[name] for text in texts)] == []
        # The run's own files do, or nothing would have been looked for.
        holding = {name.split("/")[-1] for name in said if any(text in said[name] for text in texts)}
        assert holding >= {"context_test.jsonl", "prompts.jsonl", "manifest.json", "report.html"}

    def test_a_text_is_refused_even_where_it_is_the_right_one(
        self, submitted: Submitted, copy: Path, tmp_path: Path
    ) -> None:
        as_of_version_1(copy, submitted.instance)
        edits.manifest(edits.put(schema_version=2))(copy)
        assert any("base_template" in problem for problem in problems_of(copy, submitted.instance))
        assert any("text of a template" in problem for problem in problems_of(copy, None))

    def test_a_quotation_elsewhere_is_refused(self, submitted: Submitted, copy: Path, tmp_path: Path) -> None:
        prompt = submitted.instance.prompts()[0].prompt
        for name, text in (("description", prompt.template), ("name", f"On {prompt.text} and others")):
            edits.manifest(edits.put(**{name: text}))(copy)
            (problem,) = problems_of(copy, submitted.instance)
            assert problem.startswith("submission.json quotes")
            edits.manifest(edits.put(**{name: "Ours"}))(copy)
        with pytest.raises(SuiteError, match=r"quotes .* leave texts of prompts out of --description"):
            pack_run(submitted.run, tmp_path / "quoting", SubmissionInfo("x", description=prompt.template))
        assert not (tmp_path / "quoting").exists()

    def test_one_of_the_first_version_is_judged_the_same(
        self, world: World, submitted: Submitted, copy: Path
    ) -> None:
        as_of_version_1(copy, submitted.instance)
        assert [problems_of(copy, known) for known in (submitted.instance, None)] == [(), ()]
        target = TargetConfig(model=str(world.model))
        now, then = (score_submission(at, world.instance, target) for at in (submitted.folder, copy))
        assert (then.sound, now.sound) == (True, True)
        assert (then.scores, then.averages) == (now.scores, now.averages)

    def test_its_outcomes_sum_up_to_what_the_run_has(self, submitted: Submitted) -> None:
        found = check_submission(submitted.folder, submitted.instance)
        assert found.submission is not None
        averages, comparisons = summed_up(found.submission, found.outcomes)
        known = [r for r in read_averages(submitted.run / "averages.jsonl") if r.partition == "test"]
        assert sorted(map(str, averages)) == sorted(map(str, known))
        known_comparisons = read_comparisons(submitted.run / "comparisons.jsonl")
        assert sorted(map(str, comparisons)) == sorted(map(str, known_comparisons))
        alone = check_submission(submitted.folder)
        assert alone.submission is not None
        of_names, _ = summed_up(alone.submission, alone.outcomes)
        assert [r.value("disentangle") for r in of_names] == [r.value("disentangle") for r in averages]

    def test_an_instance_that_was_built_anew_will_do(
        self, world: World, submitted: Submitted, tmp_path: Path
    ) -> None:
        (tmp_path / "build.yaml").write_text(json.dumps(edits.manifest_of(submitted.folder)["build"]))
        done = ravel(
            *("build", "--model", world.model, "--entity-type", "invented_person", "--data", world.data),
            *("--config", tmp_path / "build.yaml", "--out", tmp_path / "anew"),
        )
        assert done.exit_code == 0, done.output
        assert score_submission(
            submitted.folder, tmp_path / "anew", TargetConfig(model=str(world.model))
        ).sound


class TestTampering:
    def test_some_of_every_family_are_refused(self, submitted: Submitted, tmp_path: Path) -> None:
        some = tampering.mutations(submitted.folder, every=12)
        self.check(tampering.verdicts(some, submitted.instance, tmp_path), at_least=50)

    @pytest.mark.slow
    def test_every_mutation_is_refused_in_words(self, submitted: Submitted, tmp_path: Path) -> None:
        mutations = list(tampering.mutations(submitted.folder))
        assert len({mutation.name for mutation in mutations}) == len(mutations)
        self.check(tampering.verdicts(mutations, submitted.instance, tmp_path), at_least=500)

    @staticmethod
    def check(found: Iterator[tampering.Verdict], *, at_least: int) -> None:
        verdicts = list(found)
        assert [v.mutation.name for v in verdicts if v.crash] == []
        assert [v.mutation.name for v in verdicts if not v.problems] == []
        for verdict in verdicts:
            for problem in verdict.problems:
                assert 10 < len(problem) < 2000, verdict.mutation.name
                assert "Traceback" not in problem
        counts = tampering.counted(verdicts)
        assert sum(count.refused for count in counts.values()) == len(verdicts) >= at_least
        assert counts.keys() == {*tampering.FAMILIES, *tampering.ARCHIVES}

    def test_the_valid_submission_is_accepted_under_the_limits_of_the_test(
        self, submitted: Submitted
    ) -> None:
        assert problems_of(submitted.folder, submitted.instance, tampering.SMALL) == ()

    def test_nothing_is_written_outside_and_nothing_is_left(
        self, submitted: Submitted, tmp_path: Path
    ) -> None:
        (tmp_path / "work").mkdir()
        for name, make in names_in_archives(submitted.folder):
            path = make(tmp_path / "work")
            with pytest.raises(SuiteError), opened(path, tampering.SMALL):
                pytest.fail(name)
            path.unlink()
        assert list((tmp_path / "work").iterdir()) == []
        assert [path.name for path in tmp_path.iterdir()] == ["work"]

    def test_the_command_refuses_in_a_paragraph(self, world: World, submitted: Submitted, copy: Path) -> None:
        edits.raw("scores.jsonl", edits.first(b"1", b"2"), sealed=False)(copy)
        done = ravel("verify", copy, "--instance", world.instance)
        assert (done.exit_code, "differs from its hash" in done.output) == (2, True)
        done = ravel("score-submission", copy, "--instance", world.instance, "--model", world.model)
        assert (done.exit_code, "sound submission" in done.output) == (2, True)
        assert "Traceback" not in done.output

    def test_verify_accepts_the_valid_one(self, world: World, submitted: Submitted) -> None:
        done = ravel("verify", submitted.folder, "--instance", world.instance, "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["kind"] == "submission"
        alone = ravel("verify", submitted.folder)
        assert (alone.exit_code, "--instance" in alone.output) == (0, True)
        wrong = ravel("verify", submitted.run, "--instance", world.instance)
        assert (wrong.exit_code, "submission only" in wrong.output) == (2, True)


class TestJudging:
    def test_the_numbers_are_those_of_the_run_to_the_bit(
        self, world: World, submitted: Submitted, tmp_path: Path
    ) -> None:
        done = ravel(
            *("score-submission", submitted.folder, "--instance", world.instance, "--model", world.model),
            *("--out", tmp_path / "verdict", "--json"),
        )
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        assert (told["claims_match"], told["differences"]) == (True, [])
        assert told["claimed"] == len(told["scores"]) > 0
        run = [r for r in read_scores(submitted.run / "scores.jsonl") if r.chosen and r.partition == "test"]
        key = str
        assert sorted(map(key, run)) == sorted(map(key, read_scores(tmp_path / "verdict" / "scores.jsonl")))
        averages = [r for r in read_averages(submitted.run / "averages.jsonl") if r.partition == "test"]
        found = read_averages(tmp_path / "verdict" / "averages.jsonl")
        assert sorted(map(key, averages)) == sorted(map(key, found))

    def test_another_model_and_another_instance_are_refused(
        self, world: World, submitted: Submitted, copy: Path
    ) -> None:
        other = TargetConfig(model=str(world.other_model))
        with pytest.raises(SuiteError, match=r"the model that gave the instance's labels.*weights"):
            score_submission(submitted.folder, world.instance, other)
        edits.manifest(edits.put(instance_fingerprint="0" * 64))(copy)
        with pytest.raises(SuiteError, match="instance fingerprint"):
            score_submission(copy, world.instance, other)


def better_outcomes(folder: Path, _: Instance) -> None:
    """Claim that every pair was answered as the target asks for, with the scores to match."""
    for entry in edits.entries_of(folder):
        for name in (f"outcomes/{entry['path'].split('/')[1]}/context_test.jsonl",):

            def improve(rows: list[dict[str, Any]], targets: list[str] = entry["attributes"]) -> None:
                for row in rows:
                    cause = row["attribute"] in targets
                    row.update(said_swapped=cause, said_unchanged=not cause)

            edits.lines(name, improve)(folder)
    make_scores_match(folder)


def one_outcome(folder: Path, _: Instance) -> None:
    """Change one pair only, and all scores of it."""
    name = edits.outcome_files(folder)[0]
    edits.lines(name, edits.flip(3, "said_unchanged"))(folder)
    edits.lines(name, edits.at(3, said_swapped=False))(folder)
    make_scores_match(folder)


def scores_alone(folder: Path, _: Instance) -> None:
    """Claim a better score and give no outcomes."""
    shutil.rmtree(folder / "outcomes")
    edits.lines("scores.jsonl", edits.at(0, cause=1.0, disentangle=1.0))(folder)


def another_subspace(folder: Path, _: Instance) -> None:
    """Keep outcomes and scores, and replace what is said to give them."""
    path = folder / edits.entries_of(folder)[0]["path"]
    found, header = load_featurizer(path)
    columns = torch.linalg.qr(
        torch.randn(found.width, found.size, generator=torch.Generator().manual_seed(0))
    )[0]
    save_featurizer(Subspace(columns), path, header)
    edits.seal(folder)


def make_scores_match(folder: Path) -> None:
    claims = read_scores(folder / "scores.jsonl")
    numbers = {
        json.loads((folder / e["path"] / "cell.json").read_text())["cell"]: e["path"].split("/")[1]
        for e in edits.entries_of(folder)
    }
    rows = [
        rescored(claim, check_outcomes(path, None, Outcome).outcomes, TRACK)
        for claim in claims
        if (path := folder / f"outcomes/{numbers[claim.cell]}/context_test.jsonl")
    ]
    text = "".join(json.dumps(row.to_json()) + "\n" for row in rows)
    (folder / "scores.jsonl").write_text(text)
    edits.seal(folder)


@pytest.mark.parametrize("lie", [better_outcomes, one_outcome, scores_alone, another_subspace])
def test_a_clever_liar_is_found_by_the_model_only(
    lie: Callable[[Path, Instance], None], world: World, submitted: Submitted, copy: Path
) -> None:
    """Everything in the submission agrees with everything else; only the model says otherwise."""
    lie(copy, submitted.instance)
    assert problems_of(copy, submitted.instance) == ()
    done = ravel("score-submission", copy, "--instance", world.instance, "--model", world.model)
    assert done.exit_code == 2
    assert "the model" in done.output
    judged = score_submission(copy, world.instance, TargetConfig(model=str(world.model)))
    assert not judged.sound
    assert all(text.startswith(("claimed for", "outcomes/")) for text in judged.differences)
