"""Brings the states of a cut to the disk and back, each once; it runs no model and knows no bounds."""

from __future__ import annotations

from collections.abc import Sequence

from das.engine.base.cut_rows import CutRow
from das.engine.kept.disk_cache import DiskCache
from das.engine.kept.state_file import key_of
from das.engine.kept.state_pool import CutStates


class SpilledStates:
    """What did not fit into memory, in a folder."""

    def __init__(self, folder: DiskCache) -> None:
        self._folder = folder
        self._on_disk: set[str] = set()

    def fetch(self, states: CutStates, rows: Sequence[CutRow]) -> None:
        """Bring back what is there of these rows."""
        prefixes = {_prefix_key(row.prefix, states.cut): row.prefix for row in rows}
        suffixes = {_suffix_key(row, states.cut): row for row in rows}
        read = self._folder.get([*prefixes, *suffixes])
        self._on_disk.update(read)
        for key, state in read.items():
            if key in suffixes and suffixes[key] not in states.suffixes:
                states.streams.fill(states.add_suffix(suffixes[key], len(state)), state)
            elif key in prefixes and prefixes[key] not in states.prefixes:
                states.keys.fill(states.add_prefix(prefixes[key], len(state)), state)

    def store(self, states: CutStates) -> None:
        """Write what came last and is not there yet, unless the folder is full."""
        if not self._folder.writes:
            return
        prefixes, suffixes = states.added()
        added = {
            _prefix_key(tokens, states.cut): states.keys.run(states.prefixes[tokens], len(tokens))
            for tokens in prefixes
        } | {
            _suffix_key(row, states.cut): states.streams.run(states.suffixes[row], row.after)
            for row in suffixes
        }
        new = {key: state for key, state in added.items() if key not in self._on_disk}
        if new and self._folder.put(new):
            self._on_disk.update(new)


def _prefix_key(tokens: tuple[int, ...], cut: tuple[int, bool]) -> str:
    return key_of(cut[0], f"keys {cut[1]}", tokens, len(tokens))


def _suffix_key(row: CutRow, cut: tuple[int, bool]) -> str:
    return key_of(cut[0], f"stream {cut[1]} {row.fork} {row.second}", row.ids, row.start)
