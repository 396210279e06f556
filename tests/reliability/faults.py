"""Crashes, power cuts and refusing disks at every step of a run's writes; which run, is told from outside.

A run is done on a `FaultyDisk`, which stops at a chosen step. What a power cut would take is then taken from
the folder, the same run is called again on a sound disk, and its files must be those of a run that nothing
disturbed.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from same_bytes import bytes_in

from ravel.common import durable
from ravel.common.durable import Disk, process_mark
from ravel.common.errors import SuiteError

__all__ = [
    "Crash",
    "FaultCounts",
    "FaultyDisk",
    "HastyDisk",
    "Refusal",
    "SimulatedCrash",
    "all_crashes",
    "crash_everywhere",
    "refuse_everywhere",
    "using",
]

T = TypeVar("T")
Moment = Literal["before", "during", "after"]
Aftermath = Literal["kill", "data lost", "all lost"]
MOMENTS: tuple[Moment, ...] = ("before", "during", "after")
AFTERMATHS: tuple[Aftermath, ...] = ("kill", "data lost", "all lost")
REFUSED = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO)
Run = Callable[[Path], object]


class SimulatedCrash(BaseException):
    """The process is gone: no code of the run after this may change a file."""


@dataclass(frozen=True)
class Crash:
    """Where a run ends."""

    step: int
    """Number of the write step, from 1."""
    moment: Moment
    """Before the step, with half of it done (where it can be halved), or after it."""
    aftermath: Aftermath
    """Only the process is gone; or what was not brought to the disk is lost too, of files, or of files and
    of the entries of folders."""


@dataclass(frozen=True)
class Refusal:
    """Where a disk begins to refuse."""

    step: int
    """Number of the write step, from 1."""
    code: int
    """The system's error number."""
    lasting: bool
    """Whether all later steps are refused too, those that tidy up included."""


@dataclass
class FaultCounts:
    """What came of many faults; a sound suite has `survived == injected` and no cell lost or doubled."""

    injected: int = 0
    """Faults that struck."""
    survived: int = 0
    """Those after which the same call ended in the very files of an undisturbed run."""
    refused: int = 0
    """Those of refusing disks that ended in one paragraph for the user."""
    half_written: int = 0
    """Files that held anything but their old or their final content after a fault."""
    cells_lost: int = 0
    """Cells that were finished before a fault and gone, or other, after it."""
    cells_doubled: int = 0
    """Cells that were finished before a fault and written again after it."""
    by_step: Counter[str] = field(default_factory=Counter)
    """Faults by the kind of step that they struck."""
    failures: list[str] = field(default_factory=list)
    """What went wrong, in words."""

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain values."""
        return {**asdict(self), "by_step": dict(sorted(self.by_step.items()))}


class Journal:
    """Knows which bytes and which entries of folders have not reached the disk, and can take them away."""

    def __init__(self, attic: Path) -> None:
        self._attic = attic
        self._synced: dict[int, int] = {}
        self._undo: list[tuple[Path, Callable[[], None]]] = []

    def new_file(self, path: Path) -> None:
        """Note an empty file whose entry is not on the disk yet."""
        self._synced[path.stat().st_ino] = 0
        self.entry(path.parent, lambda: path.unlink(missing_ok=True))

    def touched(self, path: Path) -> None:
        """Note that a file is about to grow."""
        if path.exists():
            self._synced.setdefault(path.stat().st_ino, path.stat().st_size)
        else:
            path.touch()
            self.new_file(path)

    def synced(self, path: Path) -> None:
        """Note that all of a file is on the disk."""
        self._synced[path.stat().st_ino] = path.stat().st_size

    def entry(self, folder: Path, undo: Callable[[], None]) -> None:
        """Note a change of a folder's entries, and how it is undone."""
        self._undo.append((folder, undo))

    def folder_synced(self, folder: Path) -> None:
        """Note that a folder's entries are on the disk."""
        self._undo = [(where, undo) for where, undo in self._undo if where != folder]

    def set_aside(self, path: Path) -> Callable[[], None]:
        """Copy what lies at a path and return what puts the copy there."""
        if not path.exists():
            return lambda: None
        kept = Path(tempfile.mkdtemp(dir=self._attic)) / path.name
        (shutil.copytree if path.is_dir() else shutil.copy2)(path, kept)

        def put_back() -> None:
            if kept.is_dir():
                shutil.copytree(kept, path, dirs_exist_ok=True)
            else:
                shutil.copy2(kept, path)

        return put_back

    def cut_power(self, root: Path, *, entries: bool, keep: float) -> None:
        """Take away what is not on the disk: of each file all unsafe bytes but a share `keep` of them and,
        with `entries`, every new name and every removal."""
        for path in root.rglob("*"):
            safe = self._synced.get(path.stat().st_ino) if path.is_file() else None
            if safe is not None and path.stat().st_size > safe:
                os.truncate(path, safe + int(keep * (path.stat().st_size - safe)))
        if entries:
            for _, undo in reversed(self._undo):
                undo()


class HastyDisk(Disk):
    """Does all but wait for the disk, which would be most of the time of runs as small as those of tests."""

    def sync(self, path: Path) -> None:
        """Do nothing."""

    def sync_folder(self, folder: Path) -> None:
        """Do nothing."""


class FaultyDisk(Disk):
    """Does the steps of a disk, counts them, and fails at one of them."""

    def __init__(self, root: Path, attic: Path, fault: Crash | Refusal | None = None) -> None:
        self.root = root
        self.fault = fault
        self.kinds: list[str] = []
        """Every step that began, by name."""
        self.journal = Journal(attic)
        self.finished: dict[str, Path] = {}
        """Cells that the run took for finished, by folder: writing their header had returned."""
        self._headed: Path | None = None
        self.struck = False
        self._dead = False

    def mark(self) -> str:
        """Return the mark of a process that is gone, as ours will be."""
        host_and_pid, _ = process_mark().rsplit("-", 1)
        return f"{host_and_pid}-1"

    def _step(self, kind: str, act: Callable[[], T], half: Callable[[], object] | None = None) -> T:
        if self._dead:
            raise SimulatedCrash
        if self._headed is not None and kind != "sync_folder":
            self._note_finished()
        self.kinds.append(kind)
        here, fault = len(self.kinds), self.fault
        if isinstance(fault, Refusal) and (here == fault.step or (fault.lasting and here > fault.step)):
            self.struck = True
            if half is not None and fault.code == errno.ENOSPC:
                half()
            raise OSError(fault.code, os.strerror(fault.code))
        strikes = isinstance(fault, Crash) and here == fault.step
        if strikes and isinstance(fault, Crash) and fault.moment != "after":
            if fault.moment == "during" and half is not None:
                half()
            self._die()
        done = act()
        if strikes:
            self._die()
        return done

    def _note_finished(self) -> None:
        if self._headed is not None:
            self.finished[str(self._headed.relative_to(self.root))] = self._headed
        self._headed = None

    def _die(self) -> None:
        self.struck = self._dead = True
        raise SimulatedCrash

    def make_folder(self, folder: Path) -> None:
        """As a disk does; the new entry may be lost."""

        def act() -> None:
            if not folder.exists():
                self.journal.entry(folder.parent, lambda: shutil.rmtree(folder, ignore_errors=True))
            Disk.make_folder(self, folder)

        self._step("make_folder", act)

    def create(self, folder: Path, prefix: str) -> Path:
        """As a disk does; the new entry may be lost."""

        def act() -> Path:
            part = Disk.create(self, folder, prefix)
            self.journal.new_file(part)
            return part

        return self._step("create", act)

    def create_folder(self, folder: Path, prefix: str) -> Path:
        """As a disk does; the new entry may be lost."""

        def act() -> Path:
            part = Disk.create_folder(self, folder, prefix)
            self.journal.entry(folder, lambda: shutil.rmtree(part, ignore_errors=True))
            return part

        return self._step("create_folder", act)

    def fill(self, part: Path, write: Callable[[Path], object]) -> None:
        """As a disk does, or with half of the bytes; they may be lost."""

        def half() -> None:
            Disk.fill(self, part, write)
            os.truncate(part, part.stat().st_size // 2)

        self._step("write", lambda: Disk.fill(self, part, write), half)

    def append(self, path: Path, content: bytes) -> None:
        """As a disk does, or with half of the bytes; they may be lost."""

        def some(share: bytes) -> None:
            self.journal.touched(path)
            Disk.append(self, path, share)

        self._step("append", lambda: some(content), lambda: some(content[: len(content) // 2]))

    def sync(self, path: Path) -> None:
        """As a disk does: from now on the file is safe."""
        self._step("sync", lambda: self.journal.synced(path))

    def rename(self, source: Path, target: Path) -> None:
        """As a disk does; until the folder is synced the old entries may come back."""

        def act() -> None:
            put_back = self.journal.set_aside(target)
            Disk.rename(self, source, target)

            def undo() -> None:
                if target.exists():
                    target.replace(source)
                put_back()

            self.journal.entry(target.parent, undo)
            if target.name == "cell.json":
                self._headed = target.parent

        self._step("rename", act)

    def sync_folder(self, folder: Path) -> None:
        """As a disk does: from now on the entries are safe."""

        def act() -> None:
            self.journal.folder_synced(folder)
            self._note_finished()

        self._step("sync_folder", act)

    def remove(self, path: Path) -> None:
        """As a disk does; until the folder is synced the file may come back."""
        self._step("remove", lambda: self._removed(path, lambda: Disk.remove(self, path)))

    def remove_folder(self, folder: Path) -> None:
        """As a disk does; until the folder above is synced it may come back. What is refused stays."""
        with suppress(OSError):
            self._step(
                "remove_folder", lambda: self._removed(folder, lambda: Disk.remove_folder(self, folder))
            )

    def _removed(self, path: Path, act: Callable[[], None]) -> None:
        put_back = self.journal.set_aside(path)
        act()
        self.journal.entry(path.parent, put_back)


@contextmanager
def using(disk: Disk) -> Iterator[None]:
    """Let all writes of this process use a disk."""
    before = durable.DISK
    durable.DISK = disk
    try:
        yield
    finally:
        durable.DISK = before


def steps_of(run: Run, place: Path) -> list[str]:
    """Return the write steps of an undisturbed run, which stays in `place / "whole"`."""
    place.mkdir(parents=True, exist_ok=True)
    disk = FaultyDisk(place / "whole", place)
    with using(disk):
        run(place / "whole")
    return disk.kinds


def all_crashes(n_steps: int) -> list[Crash]:
    """Return every crash of a run of so many steps."""
    return [Crash(s, m, a) for s in range(1, n_steps + 1) for m in MOMENTS for a in AFTERMATHS]


def crash_everywhere(run: Run, place: Path, *, sample: int | None = None, seed: int = 0) -> FaultCounts:
    """Crash `run` at `sample` random points of its writes, by default at all; see what is left and what the
    same call makes of it.

    `run` gets the folder of a run and does it, or goes on with it there; it must always do the same.
    """
    steps = steps_of(run, place)
    whole = bytes_in(place / "whole")
    counts = FaultCounts()
    for number, crash in enumerate(_sampled(all_crashes(len(steps)), sample, seed)):
        folder = place / f"crash-{number}"
        _crash_once(run, folder, crash, whole, counts)
        shutil.rmtree(folder, ignore_errors=True)
    return counts


def _sampled(faults: Sequence[T], sample: int | None, seed: int) -> list[T]:
    if sample is None or sample >= len(faults):
        return list(faults)
    # Of equal parts of the run, so that none is left out.
    rng, share = random.Random(seed), len(faults) / sample
    return [
        faults[rng.randrange(int(k * share), max(int((k + 1) * share), int(k * share) + 1))]
        for k in range(sample)
    ]


def _crash_once(run: Run, folder: Path, crash: Crash, whole: dict[str, bytes], counts: FaultCounts) -> None:
    attic = folder / "attic"
    attic.mkdir(parents=True)
    disk = FaultyDisk(folder / "run", attic, crash)
    try:
        with using(disk):
            run(folder / "run")
    except SimulatedCrash:
        pass
    if not disk.struck:
        counts.failures.append(f"{crash} did not strike")
        return
    counts.injected += 1
    counts.by_step[disk.kinds[-1]] += 1
    if crash.aftermath != "kill":
        lost_entries = crash.aftermath == "all lost"
        disk.journal.cut_power(folder / "run", entries=lost_entries, keep=0.5 * (crash.step % 2))
    _look(folder / "run", whole, str(crash), counts)
    _go_on(run, folder / "run", whole, list(disk.finished), str(crash), counts)


def _look(folder: Path, whole: dict[str, bytes], fault: str, counts: FaultCounts) -> None:
    """Count files that are neither absent, nor whole, nor known to be in the making."""
    for name, found in bytes_in(folder).items():
        growing = ".part" in name or "/checkpoint/" in name or name.endswith("train_log.jsonl")
        if not growing and whole.get(name) != found:
            counts.half_written += 1
            counts.failures.append(f"{fault}: {name} is half-written")


def _go_on(
    run: Run, folder: Path, whole: dict[str, bytes], finished: Sequence[str], fault: str, counts: FaultCounts
) -> None:
    for cell in finished:
        names = [name for name in whole if name.startswith(f"{cell}/") and not name.endswith("_test.jsonl")]
        if any(_read(folder / name) != whole[name] for name in names):
            counts.cells_lost += 1
            counts.failures.append(f"{fault}: {cell} was finished and is no longer what it was")
    headers = {path: path.stat() for path in folder.rglob("cell.json")}
    try:
        with using(HastyDisk()):
            run(folder)
    except Exception as error:
        counts.failures.append(f"{fault}: the run did not go on ({type(error).__name__}: {error})")
        return
    for path, before in headers.items():
        if (path.stat().st_ino, path.stat().st_mtime_ns) != (before.st_ino, before.st_mtime_ns):
            counts.cells_doubled += 1
            counts.failures.append(f"{fault}: {path.parent.name} was written again")
    found = bytes_in(folder)
    if found == whole:
        counts.survived += 1
    else:
        differing = sorted(n for n in found.keys() | whole.keys() if found.get(n) != whole.get(n))
        counts.failures.append(f"{fault}: afterwards {', '.join(differing[:5])} differ")


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def refuse_everywhere(run: Run, place: Path, *, sample: int | None = None, seed: int = 0) -> FaultCounts:
    """Let the disk refuse at `sample` random steps of `run`, by default at all; each time the run has to end
    in a SuiteError, leave nothing half-written, and go on once the disk is sound.

    Every step is refused once and for good, as by a full disk, one that may only be read, missing permission,
    and one that fails.
    """
    steps = steps_of(run, place)
    whole = bytes_in(place / "whole")
    faults = [
        Refusal(s, code, lasting)
        for s in range(1, len(steps) + 1)
        for code in REFUSED
        for lasting in (False, True)
    ]
    counts = FaultCounts()
    for number, refusal in enumerate(_sampled(faults, sample, seed)):
        folder = place / f"refusal-{number}"
        _refuse_once(run, folder, refusal, whole, counts)
        shutil.rmtree(folder, ignore_errors=True)
    return counts


def _refuse_once(
    run: Run, folder: Path, refusal: Refusal, whole: dict[str, bytes], counts: FaultCounts
) -> None:
    attic = folder / "attic"
    attic.mkdir(parents=True)
    disk = FaultyDisk(folder / "run", attic, refusal)
    told = None
    try:
        with using(disk):
            run(folder / "run")
    except SuiteError as error:
        told = error
    except Exception as error:
        counts.failures.append(f"{refusal}: no paragraph but {type(error).__name__}: {error}")
    counts.injected += 1
    kind = disk.kinds[refusal.step - 1]
    counts.by_step[kind] += 1
    if told is not None or kind.startswith("remove"):
        # What could not be tidied up is no reason to stop.
        counts.refused += 1
    else:
        counts.failures.append(f"{refusal} at {kind}: the run ended well")
    _look(folder / "run", whole, str(refusal), counts)
    if not refusal.lasting:
        left = [name for name in bytes_in(folder / "run") if name.endswith(".part")]
        counts.half_written += len(left)
        counts.failures += [f"{refusal}: {name} was left" for name in left]
    _go_on(run, folder / "run", whole, list(disk.finished), str(refusal), counts)
