"""How large a submission may be: named limits, so that a stranger's file can't fill memory or disk."""

from __future__ import annotations

from dataclasses import dataclass

_MIB, _GIB = 2**20, 2**30


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused before it is read, or while it is unpacked. Sizes are counted, never taken from a
    header."""

    files: int = 20_000
    """Files of a submission; 500 featurizers with six files of outcomes each have fewer."""
    total_bytes: int = 4 * _GIB
    """All files together, unpacked."""
    tensor_bytes: int = _GIB
    """One `featurizer.safetensors`."""
    json_bytes: int = 8 * _MIB
    """One `.json` file."""
    lines_bytes: int = 64 * _MIB
    """One `.jsonl` file."""
    ratio: int = 200
    """Unpacked bytes per byte of the archive, once `ratio_from` bytes are unpacked."""
    ratio_from: int = 16 * _MIB
    """Small files of equal numbers shrink a thousandfold and harm nobody."""

    def of_file(self, name: str) -> int:
        """Return how many bytes a file of this name may have."""
        if name.endswith(".safetensors"):
            return self.tensor_bytes
        return self.lines_bytes if name.endswith(".jsonl") else self.json_bytes


LIMITS = Limits()
"""What holds unless another is asked for."""
