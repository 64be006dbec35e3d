"""Advice for the user about each reason of dropped bytes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from kamstrup_mqtt.protocols.base import DropReason

DROP_ADVICE: Mapping[DropReason, str] = MappingProxyType(
    {
        DropReason.PARITY: "the meter sends 8N1 and is read as 8E1: use --parity N"
        " (`parity: none`)",
        DropReason.M_BUS: "M-Bus telegrams (68 .. 68), as meters in Austria and Poland send them:"
        " this kind of HAN port is not supported",
        DropReason.P1: "a P1 telegram: this is a P1 port (DSMR), not a HAN port",
    }
)
"""Drop reasons that name the fault, each with what it means and what to do."""
