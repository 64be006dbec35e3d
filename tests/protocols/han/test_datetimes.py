"""The twelve bytes of a DLMS date-time."""

from __future__ import annotations

from datetime import datetime

import pytest

from kamstrup_mqtt.protocols.han import datetimes
from kamstrup_mqtt.protocols.han.datetimes import MeterClock


@pytest.mark.parametrize(
    ("octets", "local", "weekday", "status"),
    [
        ("07E3011D 02 0B0005 FF 8000 00", "2019-01-29T11:00:05", 2, 0x00),  # seed 003
        ("07E3011F 04 0D240A FF 8000 00", "2019-01-31T13:36:10", 4, 0x00),  # seed 003
        ("07E70406 04 0D3132 FF 8000 80", "2023-04-06T13:49:50", 4, 0x80),  # summer time flag
        ("07E50C01 03 091832 FF 8000 FF", "2021-12-01T09:24:50", 3, 0xFF),  # Aidon: no status
        ("07E50317 02 123200 FF FFC4 00", "2021-03-23T18:50:00", 2, 0x00),  # deviation -60
        ("07D00101 06 000000 FF 8000 01", None, 6, 0x01),  # never set
        ("07D00101 06 000000 FF 8000 00", None, 6, 0x00),
        ("07E3011D 02 0B0005 FF 8000 01", None, 2, 0x01),  # invalid
        ("07E3011D 02 0B0005 FF 8000 81", None, 2, 0x81),
        ("07E3011D 02 0B0005 FF 8000 02", "2019-01-29T11:00:05", 2, 0x02),  # doubtful only
        ("FFFFFFFF FF FFFFFF FF 8000 00", None, 255, 0x00),
        ("07E3021E 06 0B0005 FF 8000 00", None, 6, 0x00),  # the 30th of February
    ],
)
def test_reading(octets: str, local: str | None, weekday: int, status: int) -> None:
    assert datetimes.read(bytes.fromhex(octets)) == MeterClock(local, weekday, status)


def test_writing() -> None:
    moment = datetime(2019, 1, 29, 11, 0, 5)  # noqa: DTZ001
    assert datetimes.write(moment) == bytes.fromhex("07E3011D 02 0B0005 FF 8000 00")
