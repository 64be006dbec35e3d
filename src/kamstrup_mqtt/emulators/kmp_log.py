"""The logs of an emulated meter, counted back from its clock: one of days, one of hours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.protocols.kmp import log_messages
from kamstrup_mqtt.protocols.kmp.values import DATE, DST_DATE_TIME, TIME, UNITS, Coded, encode_value

_CODES = {unit: code for code, unit in reversed(tuple(UNITS.items()))}
_CLOCKS = (1003, 1002, 348)


@dataclass(frozen=True, slots=True)
class Logger:
    """A log with `depth` records, one each `period`.

    totals  register -> (newest value, difference to the record before, unit)
    """

    period: timedelta
    depth: int
    totals: dict[int, tuple[str, str, str]]

    def newest(self, now: datetime) -> datetime:
        """Return the last full day or hour."""
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return today + (now - today) // self.period * self.period

    def row(self, number: int, registers: Sequence[int], now: datetime) -> list[tuple[int, Coded]]:
        """Return a record. The number of the newest is `depth`."""
        back = self.depth - number
        moment = self.newest(now) - back * self.period
        known = (
            register for register in registers if register in self.totals or register in _CLOCKS
        )
        return [(register, self._value(register, back, moment)) for register in known]

    def _value(self, register: int, back: int, moment: datetime) -> Coded:
        if register == 1003:
            return encode_value(DATE, moment.date().isoformat(), 4)
        if register == 1002:
            return encode_value(TIME, moment.time().isoformat("seconds"), 4)
        if register == 348:
            return encode_value(DST_DATE_TIME, moment.isoformat("T", "seconds"), 7)
        newest, fall, unit = self.totals[register]
        value = max(Decimal(newest) - Decimal(fall) * back, Decimal(0))
        return encode_value(_CODES[unit], str(value), 4)


_DAYS = Logger(timedelta(days=1), 60, {60: ("0.303", "0.005", "GJ"), 68: ("11.388", "0.181", "m³")})
_HOURS = Logger(
    timedelta(hours=1), 240, {60: ("0.303", "0.001", "GJ"), 68: ("11.388", "0.008", "m³")}
)
_MODERN = {log_messages.LOGGERS["day"]: _DAYS, log_messages.LOGGERS["hour"]: _HOURS}
_NUMBERED = {1: _DAYS, 2: _HOURS}


class KmpLog:
    """Answers requests for logs: A1 and A2 (log 1: days, 2: hours), or B8 (days and hours).

    modern  answer B8
    now     returns the meter's clock
    """

    def __init__(self, *, modern: bool, now: Callable[[], datetime]) -> None:
        self._modern = modern
        self._now = now

    def answer(self, address: int, payload: bytes) -> bytes | None:
        """Return the payload of the answer. None if the meter does not answer."""
        cid, data = payload[1], payload[2:]
        if self._modern and cid == log_messages.CID_LOGGER and len(data) >= 2:
            return self._logger(address, data)
        if not self._modern and cid in (log_messages.CID_LOG_LAST, log_messages.CID_LOG_ID):
            return self._numbered(address, cid, data)
        return None

    def _logger(self, address: int, data: bytes) -> bytes | None:
        sub, logger, rest = data[0], data[1], data[2:]
        log = _MODERN.get(logger)
        if log is None:
            return None
        if sub == log_messages.CONFIGURATION:
            registers = (*log.totals, *_CLOCKS)
            return log_messages.configuration_answer(address, logger, log.depth, registers)
        if sub == log_messages.ID_PAST and len(rest) >= 7:
            first = int.from_bytes(rest[:4], "big")
            rest = rest[4:]
        elif sub == log_messages.LAST_PAST and len(rest) >= 5:
            first, rest = log.depth - int.from_bytes(rest[:2], "big"), rest[2:]
        else:
            return None
        count, requested = int.from_bytes(rest[:2], "big"), _ids(rest[3:])
        now = self._now()
        ids = range(min(first, log.depth), max(0, first - count), -1)
        rows = [(id_, log.row(id_, requested, now)) for id_ in ids]
        info = 0 if rows else log_messages.NO_ENTRIES
        return log_messages.past_answer(sub, address, logger, rows, log.depth, info)

    def _numbered(self, address: int, cid: int, data: bytes) -> bytes | None:
        log = _NUMBERED.get(data[0]) if data else None
        end = 2 + 2 * data[1] if len(data) > 1 else 0
        if log is None or len(data) < end + 2 + 2 * (cid == log_messages.CID_LOG_ID):
            return None
        requested, count = _ids(data[2:end]), data[end]
        if cid == log_messages.CID_LOG_ID:
            first = int.from_bytes(data[end + 2 : end + 4], "big")
        else:
            first = log.depth - count + 1
        now = self._now()
        ids = range(max(first, 1), min(first + count, log.depth + 1))
        rows = [(id_, log.row(id_, requested, now)) for id_ in ids]
        info = 0 if rows else log_messages.OUT_OF_RANGE
        return log_messages.log_answer(cid, address, data[0], rows, log.depth, info)


def log_of(model_id: str, now: Callable[[], datetime]) -> KmpLog | None:
    """Return the log of a model. None if it has none."""
    model = registry.all_models()[model_id]
    if model.medium == "heat" and model.profiles["kmp"].has_log:
        return KmpLog(modern=True, now=now)
    if model_id in ("multical_601", "multical_602"):
        return KmpLog(modern=False, now=now)
    return None


def _ids(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data) - 1, 2)]
