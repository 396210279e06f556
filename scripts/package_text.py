"""Make running text of Debian packages, for `ravel train-sae`: facts of the world, words and technical prose.

    apt-get download wordnet-base dict-gcide python3.11-doc
    for package in *.deb; do dpkg-deb -x "$package" unpacked; done
    python scripts/package_text.py unpacked --out text.jsonl

Glosses of WordNet, entries of the Collaborative International Dictionary of English and the documentation of
Python become documents, one JSON line each with `source` and `text`. Of each package documents are drawn by
lot up to its share of the megabytes. The text stays under the licences of the packages; it is not kept here.
"""

from __future__ import annotations

import argparse
import gzip
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from ravel.common.io import write_jsonl  # noqa: E402
from ravel.common.seeds import python_stream  # noqa: E402

SHARES = {"wordnet": 0.4, "gcide": 0.3, "python": 0.3}
"""Share of each source in the megabytes."""
_TOGETHER = 20
"""Entries of a dictionary, neighbours in it, that make one document."""
_NOTES = re.compile(r"\[(?:1913 Webster|PJC|WordNet 1\.5|Webster 1913 Suppl\.|[^\]]*\+PJC)\]")
_ROLE = re.compile(r":[\w:+-]+:`[~!]?([^`<]*?)\s*(?:<[^`]*>)?`")


def wordnet(root: Path) -> Iterator[str]:
    """Yield glosses with their words, `word, synonym: gloss.`, several to a document."""
    entries = []
    for part in ("noun", "verb", "adj", "adv"):
        for line in (root / f"usr/share/wordnet/data.{part}").read_text("utf-8").splitlines():
            if line.startswith(" "):
                continue
            fields, gloss = line.split(" | ", 1)
            cells = fields.split()
            words = [cells[4 + 2 * i].split("(")[0].replace("_", " ") for i in range(int(cells[3], 16))]
            entries.append(f"{', '.join(words)}: {gloss.strip()}.")
    yield from _together(entries)


def gcide(root: Path) -> Iterator[str]:
    """Yield entries of the dictionary without notes of sources, several to a document."""
    packed = root / "usr/share/dictd/gcide.dict.dz"
    text = _NOTES.sub("", gzip.decompress(packed.read_bytes()).decode("utf-8", "replace"))
    blocks = re.split(r"\n(?=\S)", text)
    entries = [" ".join(block.replace("{", "").replace("}", "").split()) for block in blocks]
    yield from _together([entry for entry in entries if len(entry) > 40])


def python(root: Path) -> Iterator[str]:
    """Yield the pages of the documentation with little of their markup."""
    sources = root / "usr/share/doc/python3.11/html/_sources"
    for path in sorted(sources.rglob("*.rst.txt")):
        lines = [
            line.rstrip()
            for line in path.read_text("utf-8").splitlines()
            if not line.startswith(".. ") and not re.fullmatch(r"\s*([=*~^#\"-])\1{3,}\s*|\s*:\w+:.*", line)
        ]
        text = _ROLE.sub(r"\1", "\n".join(lines)).replace("``", "")
        yield re.sub(r"\n{3,}", "\n\n", text).strip()


def _together(entries: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(entries), _TOGETHER):
        yield "\n".join(entries[start : start + _TOGETHER])


def drawn(documents: Sequence[str], size: float, name: str) -> Iterator[str]:
    """Yield documents in an order drawn by lot until there are `size` bytes of them."""
    order = list(documents)
    python_stream(0, "package text", name).shuffle(order)
    for document in order:
        if size <= 0:
            return
        size -= len(document.encode())
        yield document


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="folder that the packages were unpacked into")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=5.0)
    arguments = parser.parse_args()
    rows = [
        {"source": name, "text": document}
        for name, read in (("wordnet", wordnet), ("gcide", gcide), ("python", python))
        for document in drawn(list(read(arguments.root)), SHARES[name] * arguments.megabytes * 1e6, name)
    ]
    write_jsonl(arguments.out, rows)


if __name__ == "__main__":
    main()
