"""The page of commands: what each prints for `--help`."""

from __future__ import annotations

import contextlib
import io
import os

from kamstrup_mqtt import cli


def page() -> str:
    """Every command, as the page shows them below its introduction."""
    sections = []
    for name, summary in cli.COMMANDS.items():
        sections += [
            f"## `{name}`",
            f"{summary[0].upper()}{summary[1:]}.",
            f"```text\n{_help(name)}```",
        ]
    return "\n\n".join(sections) + "\n"


def _help(name: str) -> str:
    os.environ["COLUMNS"] = "88"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        cli.make_parser([name]).parse_args([name, "--help"])
    return printed.getvalue()
