"""The log of an emulated meter: one record a day, back from 20 January 2026."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal

from kamstrup_mqtt.protocols.kmp import logs
from kamstrup_mqtt.protocols.kmp.values import DATE, DST_DATE_TIME, TIME, UNITS, Coded, encode_value

_CODES = {unit: code for code, unit in reversed(tuple(UNITS.items()))}
_NEWEST_DAY = date(2026, 1, 20)
DEPTH = 60
"""Records."""

# register -> the newest value, by how much it fell per day back, unit
_TOTALS: dict[int, tuple[str, str, str]] = {
    60: ("0.303", "0.005", "GJ"),
    68: ("11.388", "0.181", "m³"),
}
_CLOCKS = (1003, 1002, 348)


class KmpLog:
    """Answers A1 and A2 (log 1), or B8 (its logger of days)."""

    def __init__(self, *, modern: bool) -> None:
        self._modern = modern

    def answer(self, address: int, payload: bytes) -> bytes | None:
        """The payload of the answer; None for silence."""
        cid, data = payload[1], payload[2:]
        if self._modern and cid == logs.CID_LOGGER and len(data) >= 2:
            return self._logger(address, data)
        if not self._modern and cid in (logs.CID_LOG_LAST, logs.CID_LOG_ID) and data[:1] == b"\1":
            return self._numbered(address, cid, data)
        return None

    def _logger(self, address: int, data: bytes) -> bytes | None:
        sub, logger, rest = data[0], data[1], data[2:]
        if logger != logs.LOGGERS["day"]:
            return None
        if sub == logs.CONFIGURATION:
            registers = (*_TOTALS, *_CLOCKS)
            return logs.configuration_answer(address, logger, DEPTH, registers)
        if sub == logs.ID_PAST and len(rest) >= 7:
            first = int.from_bytes(rest[:4], "big")
            rest = rest[4:]
        elif sub == logs.LAST_PAST and len(rest) >= 5:
            first, rest = DEPTH - int.from_bytes(rest[:2], "big"), rest[2:]
        else:
            return None
        count, asked = int.from_bytes(rest[:2], "big"), _ids(rest[3:])
        ids = range(min(first, DEPTH), max(0, first - count), -1)
        rows = [(id_, _row(id_, asked)) for id_ in ids]
        info = 0 if rows else logs.NO_ENTRIES
        return logs.past_answer(sub, address, logger, rows, DEPTH, info)

    def _numbered(self, address: int, cid: int, data: bytes) -> bytes | None:
        end = 2 + 2 * data[1] if len(data) > 1 else 0
        if len(data) < end + 2 + 2 * (cid == logs.CID_LOG_ID):
            return None
        asked, count = _ids(data[2:end]), data[end]
        if cid == logs.CID_LOG_ID:
            first = int.from_bytes(data[end + 2 : end + 4], "big")
        else:
            first = DEPTH - count + 1
        ids = range(max(first, 1), min(first + count, DEPTH + 1))
        rows = [(id_, _row(id_, asked)) for id_ in ids]
        info = 0 if rows else logs.OUT_OF_RANGE
        return logs.log_answer(cid, address, 1, rows, DEPTH, info)


def log_of(model_id: str) -> KmpLog | None:
    """The log of a model; None for models that have none here."""
    if model_id in ("multical_303", "multical_403", "multical_603"):
        return KmpLog(modern=True)
    return KmpLog(modern=False) if model_id in ("multical_601", "multical_602") else None


def _ids(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data) - 1, 2)]


def _row(id_: int, asked: Sequence[int]) -> list[tuple[int, Coded]]:
    known = (register for register in asked if register in _TOTALS or register in _CLOCKS)
    return [(register, _value(id_, register)) for register in known]


def _value(id_: int, register: int) -> Coded:
    day = _NEWEST_DAY - timedelta(days=DEPTH - id_)
    if register == 1003:
        return encode_value(DATE, day.isoformat(), 4)
    if register == 1002:
        return encode_value(TIME, "00:00:00", 4)
    if register == 348:
        return encode_value(DST_DATE_TIME, f"{day.isoformat()}T00:00:00", 7)
    newest, fall, unit = _TOTALS[register]
    value = max(Decimal(newest) - Decimal(fall) * (DEPTH - id_), Decimal(0))
    return encode_value(_CODES[unit], str(value), 4)
