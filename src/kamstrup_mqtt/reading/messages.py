"""The texts that readers show to the user: where, what, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

from kamstrup_mqtt.core.clock import rfc3339
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.protocols.base import DroppedBytes, DropReason
from kamstrup_mqtt.reading.plausibility import AcceptedTotal, Rejection, RejectionReason

EXCERPT_BYTES = 32
"""Bytes of a dropped piece that a message shows."""

NO_VALUES = (
    "the meter answers, but has none of the values that it is asked for: check `model`,"
    " or the list of values"
)
MODEL_UNKNOWN = (
    "the model could not be found out; `kamstrup-mqtt scan` shows the registers of"
    " the meter: list them with model: kmp_meter"
)
NO_LIST = "bytes come, but no whole list among them"
REOPENING = "nothing came for long: the line is opened again, in case it is stuck"
PORT_OPEN_NO_POLL = "the port is open; no poll was due yet"
PORT_OPEN_NO_BYTES = "the port is open again; nothing came yet"
INTERNAL_ERROR = "internal error, please report it with these lines; the bytes being handled: %s"

_DROPPED: Mapping[DropReason, tuple[LinkState, str]] = MappingProxyType(
    {
        DropReason.CHECKSUM: (
            LinkState.CHECKSUM,
            "bytes come, but their checksums are wrong: check the wiring and the line's settings",
        ),
        DropReason.PARITY: (
            LinkState.BYTES_NO_FRAMES,
            "bytes come, but the parity of the line is wrong: the meter sends 8N1 and is read as"
            " 8E1. Set `parity: none` (behind a TCP bridge: 2400n81 in the bridge)",
        ),
        DropReason.M_BUS: (
            LinkState.BYTES_NO_FRAMES,
            "M-Bus telegrams come (68 .. 68), as Austrian and Polish meters send them: this is no"
            " HAN port that is read here (Norway, Sweden, Denmark, Switzerland: 7E .. 7E)",
        ),
        DropReason.P1: (
            LinkState.BYTES_NO_FRAMES,
            "a P1 telegram comes (/KAM5 ..., text): this is a P1 port, not a HAN port; it needs a"
            " reader for P1 (DSMR)",
        ),
    }
)


def describe_drop(drop: DroppedBytes) -> tuple[LinkState, str]:
    """Say why bytes on a pushed line became no list."""
    if drop.reason in _DROPPED:
        return _DROPPED[drop.reason]
    return (
        LinkState.BYTES_NO_FRAMES,
        f"bytes come, but no whole list ({drop.reason}): check speed and parity (Kamstrup 2400 8N1,"
        f" Aidon and Kaifa 2400 8E1), and `protocol`; last: {drop.raw[:EXCERPT_BYTES].hex(' ')}",
    )


def describe_silence(seconds: float) -> str:
    """Say what to check when a pushing meter is silent."""
    return (
        f"nothing came for {seconds:.0f} s: is the meter's port switched on (the grid company"
        " does it), the adapter plugged in, and are its wires the right way round?"
    )


def describe_rejection(rejection: Rejection) -> str:
    """Say why a total is rejected."""
    value = _format(rejection.value, rejection.unit)
    if rejection.reason is RejectionReason.UNCONFIRMED or rejection.accepted is None:
        return "the first value: waiting for a second that agrees with it"
    accepted = _describe_accepted(rejection.accepted, rejection.unit)
    if rejection.reason is RejectionReason.DECREASED:
        return f"{value} is less than the last accepted {accepted}"
    return (
        f"{value} is more than the meter can have counted in {rejection.seconds:.0f} s"
        f" since the last accepted {accepted}"
    )


def _describe_accepted(total: AcceptedTotal, unit: str | None) -> str:
    time = rfc3339(total.time)
    return _format(total.value, unit) + (f" of {time}" if time else "")


def _format(value: Decimal, unit: str | None) -> str:
    return f"{value:f} {unit}" if unit else f"{value:f}"
