"""Tensors in a folder of safetensors files that runs and processes share; it knows neither models nor what
the tensors mean.

Each write is one new file under a name of its own, so that no file ever changes: a reader sees all of it or
none. Inside, states of one dtype and width stand one after the other in one tensor, for a view of a mapped
tensor costs a tenth of a look-up by name. Beside them stand their keys, their ends and their checksums.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import tempfile
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from das.engine.kept.state_file import StatePlace, checksum_of, packed_states, places_in, states_name
from ravel import __version__
from ravel.common.errors import SuiteError
from ravel.common.io import canonical_json, make_folder, read_json, sha256_text, write_json
from ravel.common.sizes import written_bytes

SPILL_SCHEMA_VERSION = 1
"""Version of the folder's layout; another one is refused."""

_log = logging.getLogger(__name__)
_IDENTITY = "cache.json"
_SUFFIX = ".safetensors"
_PART = ".part"
_PARTS_KEPT = 86_400.0
"""Seconds after which a file that was never finished belongs to nobody."""
_UNSOUND = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)
"""What reading a file that is damaged, foreign or gone may raise."""


def model_identity(fingerprint: str, dtype: torch.dtype, device: torch.device) -> dict[str, str]:
    """Return what the bits of a model's states depend on: model, dtype, software and kind of processor."""
    cuda = device.type == "cuda"
    processor = torch.cuda.get_device_name(device) if cuda else torch.backends.cpu.get_cpu_capability()
    return {
        "ravel_bench": __version__,
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "model_fingerprint": fingerprint,
        "dtype": str(dtype).removeprefix("torch."),
        "device": f"{device.type}, {platform.machine()}, {processor}",
    }


class DiskCache:
    """Keeps states [n_tokens, features] in a folder, for this process, others and later ones.

    Reading gives exactly the bits that were written. What is damaged is never used: every state has a
    checksum that is compared when this process first reads it. Nothing that is there is ever changed or
    removed, but for unfinished files older than a day.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, str],
        *,
        max_bytes: int | None = None,
        rescan_seconds: float = 2.0,
        max_open: int = 1024,
    ) -> None:
        """Open the folder, or make it.

        `identity` names everything that the bits of a state depend on besides its key. `max_bytes` bounds all
        files of the folder together; by default they may take half of what is free on the disk besides what
        they have. `rescan_seconds` is how long files of others may go unseen, `max_open` how many files are
        mapped at a time. Raises SuiteError for a folder of another identity, one whose cache.json is damaged,
        one that holds other files, and one that can't be made; nothing is written then.
        """
        self.folder = folder
        """Where the files are."""
        self._identity = {"schema_version": str(SPILL_SCHEMA_VERSION), **identity}
        self._stamp = sha256_text(canonical_json(self._identity))
        self._claim()
        self._rescan_seconds = rescan_seconds
        self._max_open = max_open
        self._known: set[str] = set()
        self._bad: set[str] = set()
        self._index: dict[bytes, StatePlace] = {}
        self._sound: set[bytes] = set()
        self._mapped: OrderedDict[Path, dict[str, Tensor]] = OrderedDict()
        self._stopped = False
        self.bytes = 0
        """Size of all files that were seen so far."""
        self._scan()
        self._remove_old_parts()
        self.max_bytes = self.bytes + shutil.disk_usage(folder).free // 2 if max_bytes is None else max_bytes
        """Upper bound of `bytes`."""

    def __len__(self) -> int:
        return len(self._index)

    @property
    def writes(self) -> bool:
        """Whether `put` still writes: False after the disk or the limit was full."""
        return not self._stopped

    def get(self, keys: Sequence[str]) -> dict[str, Tensor]:
        """Return those of the states that are there, in main memory. They are views of mapped files: they
        cost no memory until they are read, and are copied to be kept."""
        wanted = {key: bytes.fromhex(key) for key in keys}
        if any(digest not in self._index for digest in wanted.values()) and self._is_old():
            self._scan()
        kept = {}
        for key, digest in wanted.items():
            state = self._read(digest)
            if state is not None:
                kept[key] = state
        return kept

    def put(self, states: Mapping[str, Tensor]) -> bool:
        """Write states [n_tokens, features] that are not there yet as one new file; return whether all are
        kept. A disk that is full or can't be written to, and the limit, are no errors: what was half-written
        is removed, one warning is logged, and from then on nothing is written."""
        if self._stopped:
            return False
        new = {digest: states[k] for k in states if (digest := bytes.fromhex(k)) not in self._index}
        if not new:
            return True
        tensors = packed_states(new)
        if self.bytes + sum(tensor.nbytes for tensor in tensors.values()) > self.max_bytes:
            return self._stop(f"its limit of {written_bytes(self.max_bytes)} is reached")
        try:
            path = self._written(tensors)
        except (OSError, SafetensorError) as error:
            return self._stop(_reason(error))
        self._adopt(path)
        return True

    def _written(self, tensors: Mapping[str, Tensor]) -> Path:
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=_PART)
        os.close(handle)
        part = Path(name)
        try:
            # Not brought to the disk as results are: what a power cut damages, its checksums show.
            save_file(dict(tensors), part, metadata={"identity": self._stamp})
            part.chmod(0o644)
            # mkstemp's letters are unique among the unfinished files only, and names must never come again.
            path = (
                self.folder / f"{time.time_ns():020d}-{os.getpid()}{part.name.removesuffix(_PART)}{_SUFFIX}"
            )
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        return path

    def _stop(self, reason: str) -> bool:
        self._stopped = True
        _log.warning(
            "states are no longer written to %s (%s); what does not fit into memory is computed again",
            self.folder,
            reason,
        )
        return False

    # --- reading

    def _is_old(self) -> bool:
        return time.monotonic() - self._scanned >= self._rescan_seconds

    def _scan(self) -> None:
        """Take up the files that are new."""
        self._scanned = time.monotonic()
        try:
            names = sorted(entry.name for entry in os.scandir(self.folder) if entry.name.endswith(_SUFFIX))
        except OSError as error:
            _log.warning("the cache folder %s can't be read (%s)", self.folder, _reason(error))
            return
        for name in names:
            if name not in self._known:
                self._adopt(self.folder / name)

    def _adopt(self, path: Path) -> None:
        """Enter the states of a file into the index; a file that is not sound is left alone."""
        try:
            if path.name not in self._known:
                self._known.add(path.name)
                self.bytes += path.stat().st_size
            places = dict(places_in(path, self._map(path)))
        except _UNSOUND as error:
            self._drop(path, _reason(error))
            return
        self._index.update((digest, place) for digest, place in places.items() if digest not in self._index)

    def _read(self, digest: bytes) -> Tensor | None:
        """Return a state whose checksum is right; None if no file has it."""
        while (place := self._index.get(digest)) is not None:
            try:
                state = self._map(place.path)[states_name(place.group)][place.start : place.end]
            except _UNSOUND as error:
                self._drop(place.path, _reason(error))
                continue
            if digest in self._sound or checksum_of(state) == place.checksum:
                self._sound.add(digest)
                return state
            self._drop(place.path, "a checksum differs")
        return None

    def _map(self, path: Path) -> dict[str, Tensor]:
        """Return the tensors of a file, mapped; those of the longest unused file give way."""
        tensors = self._mapped.get(path)
        if tensors is None:
            with safe_open(path, framework="pt") as file:
                if (file.metadata() or {}).get("identity") != self._stamp:
                    raise ValueError("written for another model or version")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            self._mapped[path] = tensors
        self._mapped.move_to_end(path)
        while len(self._mapped) > self._max_open:
            self._mapped.popitem(last=False)
        return tensors

    def _drop(self, path: Path, reason: str) -> None:
        """Forget all states of a file and say so; the file stays."""
        _log.warning("%s is left alone (%s); its states are computed again", path, reason)
        self._bad.add(path.name)
        self._mapped.pop(path, None)
        lost = [digest for digest, place in self._index.items() if place.path == path]
        for digest in lost:
            del self._index[digest]
            self._sound.discard(digest)
        if lost:
            # Other files may hold the same states; only the first of them is in the index.
            for name in sorted(self._known - self._bad):
                self._adopt(self.folder / name)

    # --- the folder

    def _claim(self) -> None:
        """Make the folder or check whose it is. Raises SuiteError if it is not ours."""
        file = self.folder / _IDENTITY
        if not file.exists():
            self._refuse_foreign_files()
            try:
                make_folder(self.folder)
                write_json(file, self._identity)
            except SuiteError as error:
                raise SuiteError(
                    expected=f"to be able to write to the cache folder {self.folder}",
                    came=error.came,
                    todo="choose another --cache-folder, or free space and permissions there",
                ) from None
        # Read in any case: another process may have been faster.
        self._refuse_difference(_identity_in(file))

    def _refuse_foreign_files(self) -> None:
        if not self.folder.exists():
            return
        if not self.folder.is_dir() or any(not p.name.endswith(_PART) for p in self.folder.iterdir()):
            raise SuiteError(
                expected=f"a new folder, an empty one or an earlier cache at {self.folder}",
                came=f"a file, or a folder with other files and no {_IDENTITY}",
                todo="choose another --cache-folder",
            )

    def _refuse_difference(self, stated: Mapping[str, str]) -> None:
        names = [
            name for name in self._identity | dict(stated) if stated.get(name) != self._identity.get(name)
        ]
        if names:
            raise SuiteError(
                expected="a cache of " + _listed(self._identity, names),
                came=f"{_listed(stated, names)} in {self.folder}",
                todo="choose another --cache-folder, for each model and version needs its own",
            )

    def _remove_old_parts(self) -> None:
        oldest = time.time() - _PARTS_KEPT
        for part in self.folder.glob(f".*{_PART}"):
            with suppress(OSError):
                if part.stat().st_mtime < oldest:
                    part.unlink()


def _identity_in(file: Path) -> dict[str, str]:
    try:
        content = read_json(file)
    except SuiteError as error:
        content, came = None, error.came
    else:
        came = "something else"
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise SuiteError(
            expected=f"the identity of a cache in {file}",
            came=came,
            todo="choose another --cache-folder, or remove this one: it can be computed again",
        )
    return content


def _listed(identity: Mapping[str, str], names: Sequence[str]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {identity.get(name, 'unknown')}" for name in names)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
