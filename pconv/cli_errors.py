"""How the command line answers: what went wrong in one line, and exit status 2."""

import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer
from tqdm import tqdm
from typer.core import TyperGroup

from pconv.errors import ParameterError, PConvError
from pconv.standard_output import flushed_output
from pconv.stopping import exit_on_sigterm

EXIT_BAD_INPUT = 2


class Commands(TyperGroup):
    """Tells errors on purpose, and those of files, in one line each."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line, or show the help."""
        with _told_in_one_line():
            _refuse_empty(args)
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # closed, as 2>&- does
                setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  # until the end
        # A name on the disk need not be UTF-8; told it has to be, and the work goes on.
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        with exit_on_sigterm(), _told_in_one_line():
            return super().invoke(ctx)


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    try:
        with flushed_output():
            yield
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        raise
    except (PConvError, OSError, MemoryError) as error:
        words = one_line(f"Error: {error}") if str(error) else "Error: too little memory"
        typer.echo(words, err=True)
        raise typer.Exit(EXIT_BAD_INPUT) from None


def tell_beside_bar(error: Exception) -> None:
    """Tell what is wrong with one file of many, in one line, while a progress bar goes on."""
    tqdm.write(one_line(f"Error: {error}"), file=sys.stderr)


def exit_if_failed(failed: int, total: int, done: str) -> None:
    """End with the status of bad input if some of many files failed, and say how many are done."""
    if failed and total > 1:
        typer.echo(f"{total - failed} of {total} {done}, {failed} failed", err=True)
    if failed:
        raise typer.Exit(EXIT_BAD_INPUT)


def one_line(text: str) -> str:
    """Return a text with control characters escaped, as a file's name may have them."""
    return "".join(
        one.encode("unicode_escape").decode() if unicodedata.category(one) == "Cc" else one
        for one in text
    )


def _refuse_empty(args: list[str]) -> None:
    """Refuse empty words: as a path one is the current folder, and nobody means that."""
    options = args[: args.index("--")] if "--" in args else args
    for before, word in pairwise(args):
        is_option = word in options and word.startswith("--")
        is_assigned = is_option and word.find("=") == len(word) - 1  # a name may end so: --mask=a=
        if not word or is_assigned:
            name = word[:-1] if is_assigned else before
            raise ParameterError(f"what follows {name} is empty; is a shell variable unset?")
