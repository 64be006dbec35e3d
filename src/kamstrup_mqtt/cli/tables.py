"""Tables for the user: a rich table on a terminal, aligned columns elsewhere.

Text from a meter is untrusted: its control characters are escaped, and rich does not interpret it
as markup.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import IO, Any

from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.core.text import escape_unprintable

Row = Sequence[object]


def printable(value: object) -> str:
    """The text of `value` on one line: numbers in plain notation, control characters escaped."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        return decimal_json.format_decimal(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(key)} {printable(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(printable(item) for item in value)
    return escape_unprintable(str(value))


def fields(pairs: Mapping[str, Any]) -> str:
    """Names and values on one line: `cid 0x10, destination 0x3F`."""
    return ", ".join(f"{key} {printable(value)}" for key, value in pairs.items())


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Row], *, file: IO[str] | None = None
) -> None:
    """Print a table with a title, or the title alone if there are no rows."""
    stream = file if file is not None else sys.stdout
    cells = [[printable(cell) for cell in row] for row in rows]
    if cells and stream.isatty():
        _show_rich(title, columns, cells, stream)
    else:
        _show_plain(title, columns, cells, stream)
    stream.flush()


def _show_plain(
    title: str, columns: Sequence[str], cells: list[list[str]], stream: IO[str]
) -> None:
    print(printable(title), file=stream)
    if not cells:
        return
    lines = [list(columns), *cells]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print(f"  {text}".rstrip(), file=stream)


def _show_rich(title: str, columns: Sequence[str], cells: list[list[str]], stream: IO[str]) -> None:
    from rich.console import Console

    console = Console(file=stream)
    console.print(make_rich(title, columns, cells))


def make_rich(title: str, columns: Sequence[str], cells: Iterable[Sequence[str]]) -> Any:
    """A rich table. The cells must already be `printable` text."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(printable(title)), title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for line in cells:
        table.add_row(*(Text(cell) for cell in line))
    return table
