"""How commands write, by what they write; no flag is known here."""

from __future__ import annotations

from evaluation.commands.printing.lines import Interrupted, keeping, say, warn
from evaluation.commands.printing.progress import shown_progress
from evaluation.commands.printing.result import Result
from evaluation.commands.printing.text import as_number, print_rows

__all__ = ["Interrupted", "Result", "as_number", "keeping", "print_rows", "say", "shown_progress", "warn"]
