"""`kamstrup-mqtt history` on emulated meters."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from tests.support.commandline import emulated, kamstrup_mqtt

LOOPBACK = ("--listen", "127.0.0.1:0")


def test_the_log_of_a_403() -> None:
    with emulated("multical_403", *LOOPBACK) as (_, address):
        port = ("--port", f"tcp://{address}")
        found = kamstrup_mqtt(
            "history", *port, "--from", "2026-01-01", "--to", "2026-01-02", "--json"
        )
        assert found.code == 0
        # 0.303 GJ on 20 January, 0.005 less a day
        assert json.loads(found.out, parse_float=Decimal) == [
            {
                "record": 42,
                "time": "2026-01-02T00:00:00",
                "values": {
                    "348": {"value": "2026-01-02T00:00:00", "unit": None},
                    "60": {"value": Decimal("0.213"), "unit": "GJ"},
                    "68": {"value": Decimal("8.130"), "unit": "m³"},
                },
            },
            {
                "record": 41,
                "time": "2026-01-01T00:00:00",
                "values": {
                    "348": {"value": "2026-01-01T00:00:00", "unit": None},
                    "60": {"value": Decimal("0.208"), "unit": "GJ"},
                    "68": {"value": Decimal("7.949"), "unit": "m³"},
                },
            },
        ]
        nothing = kamstrup_mqtt("history", *port, "--from", "2027-01-01")
        assert (nothing.code, "no records" in nothing.err) == (1, True)
        missing = kamstrup_mqtt("history", *port, "--register", "86")
        assert (missing.code, "does not contain it; it contains 60, 68" in missing.err) == (2, True)
        absent = kamstrup_mqtt("history", *port, "--logger", "year", limit=60)
        assert (absent.code, "it does not have this logger" in absent.err) == (1, True)


def test_the_numbered_log_of_a_602() -> None:
    with emulated("multical_602", *LOOPBACK) as (_, address):
        found = kamstrup_mqtt(
            *("history", "--port", f"tcp://{address}", "--log-id", "1", "--csv"),
            *("--from", "2026-01-05", "--to", "2026-01-06", "--register", "68"),
        )
    assert found.code == 0
    assert found.out.splitlines() == [
        "time,record,volume [m³]",
        "2026-01-06T00:00:00,46,8.854",
        "2026-01-05T00:00:00,45,8.673",
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--from", "yesterday"), "write a date as 2026-01-31"),
        (
            ("--port", "/dev/x", "--from", "2026-02-01", "--to", "2026-01-31"),
            "--from 2026-02-01 is after --to 2026-01-31",
        ),
        (("--log-id", "256", "--port", "/dev/x"), "0 to 255"),
        (("--register", "x", "--port", "/dev/x"), "is no register"),
        (("--register", "serial_no", "--port", "/dev/x"), "up to 6 numbers"),
    ],
)
def test_wrong_usage(args: tuple[str, ...], message: str) -> None:
    result = kamstrup_mqtt("history", *args)
    assert result.code == 2
    assert message in result.err
