"""The command line `ravel`: its subcommands, and what a user sees when something goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from evaluation.commands import data, listing, model, planted
from evaluation.commands.attribute import attribute
from evaluation.commands.axbench import axbench
from evaluation.commands.build import build
from evaluation.commands.demo import demo
from evaluation.commands.diagnose import diagnose
from evaluation.commands.export import export
from evaluation.commands.fit import fit
from evaluation.commands.hub import pull, push
from evaluation.commands.import_featurizer import import_featurizer
from evaluation.commands.keep_best import keep_best
from evaluation.commands.knowledge import knowledge
from evaluation.commands.printing import Interrupted, say, warn
from evaluation.commands.publish import plot, table
from evaluation.commands.reft import reft
from evaluation.commands.report import card, report, watch
from evaluation.commands.rescore import rescore
from evaluation.commands.run import run
from evaluation.commands.score import score
from evaluation.commands.share import share
from evaluation.commands.share_text import share_text
from evaluation.commands.site import check_entry, site
from evaluation.commands.submission import score_submission, submit
from evaluation.commands.task import task
from evaluation.commands.train_sae import train_sae
from evaluation.commands.verify import verify
from ravel import __version__
from ravel.common.errors import SuiteError
from ravel.common.registry.plugins import plugins_named

_USER_ERROR = 2
_INTERRUPTED = 130
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


class _Suite(TyperGroup):
    """The root command: a user's mistake becomes one paragraph, a fault of ours a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand."""
        try:
            return super().invoke(ctx)
        except SuiteError as error:
            warn(str(error))
        except PermissionError as error:
            warn(_permission_paragraph(error))
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            warn(_memory_paragraph(error))
        except Interrupted as stopped:
            warn(str(stopped))
            raise typer.Exit(_INTERRUPTED) from None
        except KeyboardInterrupt:
            warn("Interrupted. Nothing was written.")
            raise typer.Exit(_INTERRUPTED) from None
        raise typer.Exit(_USER_ERROR)


def _is_out_of_memory(error: Exception) -> bool:
    # By its words: torch is not imported here, and its own class is not raised for main memory.
    return isinstance(error, MemoryError) or any(phrase in str(error).lower() for phrase in _OUT_OF_MEMORY)


def _memory_paragraph(error: Exception) -> str:
    came = (str(error).splitlines() or [""])[0] or "no room left"
    return str(
        SuiteError(
            expected="enough memory for this command",
            came=came,
            todo="lower --batch-tokens (for instance to a quarter), or load the model with --dtype bfloat16",
        )
    )


def _permission_paragraph(error: PermissionError) -> str:
    return str(
        SuiteError(
            expected=f"permission to use {error.filename or 'a file'}",
            came=error.strerror or "none",
            todo="choose another path, or change its permissions or its owner",
        )
    )


app = typer.Typer(
    cls=_Suite,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"ravel-bench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    plugin: Annotated[
        list[Path] | None,
        typer.Option(
            "--plugin",
            metavar="FILE.py",
            help="A file with a method, track, entity type, model family or control of your own; repeatable.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find the part of a hidden vector that carries one attribute; prove it; compare methods fairly."""
    context.with_resource(plugins_named(plugin or []))


_WAY, _RESULTS, _OTHERS, _MORE = "From facts to a table", "What came of it", "With others", "To look up"

app.command(rich_help_panel=_WAY)(demo)
app.command(rich_help_panel=_WAY)(run)
app.command(rich_help_panel=_WAY)(build)
app.command(rich_help_panel=_WAY)(fit)
app.command(rich_help_panel=_WAY)(score)
app.add_typer(data.app, name="data", rich_help_panel=_WAY)
app.add_typer(model.app, name="model", rich_help_panel=_WAY)
app.command(rich_help_panel=_RESULTS)(table)
app.command(rich_help_panel=_RESULTS)(report)
app.command(rich_help_panel=_RESULTS)(watch)
app.command(rich_help_panel=_RESULTS)(plot)
app.command(rich_help_panel=_RESULTS)(diagnose)
app.command(rich_help_panel=_MORE)(knowledge)
app.command(rich_help_panel=_MORE)(attribute)
app.command("share-text", rich_help_panel=_RESULTS)(share_text)
app.command(rich_help_panel=_RESULTS)(rescore)
app.command(rich_help_panel=_RESULTS)(card)
app.command(rich_help_panel=_RESULTS)(verify)
app.command(rich_help_panel=_OTHERS)(export)
app.command("import", rich_help_panel=_OTHERS)(import_featurizer)
app.command(rich_help_panel=_OTHERS)(task)
app.command(rich_help_panel=_OTHERS)(submit)
app.command(rich_help_panel=_MORE)(share)
app.command(rich_help_panel=_MORE)(reft)
app.command("train-sae", rich_help_panel=_MORE)(train_sae)
app.command(rich_help_panel=_MORE)(axbench)
app.command("keep-best", rich_help_panel=_MORE)(keep_best)
app.command("score-submission", rich_help_panel=_OTHERS)(score_submission)
app.command("check-entry", rich_help_panel=_OTHERS)(check_entry)
app.command(rich_help_panel=_OTHERS)(site)
app.command(rich_help_panel=_OTHERS)(push)
app.command(rich_help_panel=_OTHERS)(pull)
app.add_typer(listing.app, name="list", rich_help_panel=_MORE)
app.add_typer(planted.app, name="planted", rich_help_panel=_MORE)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line on `argv`, by default that of the process; always raises SystemExit."""
    app(args=None if argv is None else list(argv), prog_name="ravel")
