"""Tables: rich on a terminal, plain columns elsewhere; text from a meter is escaped."""

from __future__ import annotations

import io
from decimal import Decimal

from kamstrup_mqtt.cli import tables


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_printable() -> None:
    assert tables.printable(Decimal("2.55E+5")) == "255000"
    assert tables.printable(Decimal("61.620")) == "61.620"
    assert tables.printable(None) == "-"
    assert [tables.printable(value) for value in (True, False)] == ["yes", "no"]
    assert tables.printable([60, 68]) == "60 68"
    assert tables.printable({"ok": True}) == "ok yes"
    assert tables.printable("\x1b[2Jm³\n") == "\\x1b[2Jm³\\x0a"
    assert tables.fields({"cid": "0x10", "registers": [60]}) == "cid 0x10, registers 60"


def test_plain_columns() -> None:
    stream = io.StringIO()
    tables.print_table(
        "meter", ("id", "value"), [(60, Decimal("0.303")), (1002, None)], file=stream
    )
    assert stream.getvalue() == "meter\n  id    value\n  60    0.303\n  1002  -\n"


def test_a_title_without_rows() -> None:
    stream = Terminal()
    tables.print_table("dropped", (), (), file=stream)
    assert stream.getvalue() == "dropped\n"


def test_a_terminal_shows_markup_as_text() -> None:
    stream = Terminal()
    tables.print_table("[bold]meter", ("id", "value"), [("1.20", "[red]x\x1b[0m")], file=stream)
    shown = stream.getvalue()
    assert "[bold]meter" in shown
    assert "[red]x\\x1b[0m" in shown
