"""Kaifa's lists, which have no OBIS codes: the position of a value says what it is.

     1 element     P+
     9, 13         "KFM_001", id, type, P+, P-, Q+, Q-, I1 [I2 I3], U1 [U2 U3]
    14, 18         the same, then clock, A+, A-, R+, R-

Currents count 0.001 A, voltages 0.1 V, energies 1 Wh. Swedish meters send the same lists, or one
with a code before each value. A three-wire MA304H3E sends 0 for U2. Source: "Kaifa HAN OBIS
codes KFM_001" (Kaifa); recorded frames of MA105, MA304H3E, MA304H4 and MA304T4.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

LIST_PREFIX: Final = "KFM_"

_IDS = ("1-0:0.2.129.255", "0-0:96.1.0.255", "0-0:96.1.7.255")
_POWERS = tuple(f"1-0:{n}.7.0.255" for n in (1, 2, 3, 4))
_ONE = ("1-0:31.7.0.255", "1-0:32.7.0.255")
_THREE = tuple(f"1-0:{c}.7.0.255" for c in (31, 51, 71, 32, 52, 72))
_REGISTERS = ("0-0:1.0.0.255", *(f"1-0:{n}.8.0.255" for n in (1, 2, 3, 4)))

LAYOUTS: Final = MappingProxyType(
    {
        len(layout): layout
        for layout in (
            _POWERS[:1],
            (*_IDS, *_POWERS, *_ONE),
            (*_IDS, *_POWERS, *_THREE),
            (*_IDS, *_POWERS, *_ONE, *_REGISTERS),
            (*_IDS, *_POWERS, *_THREE, *_REGISTERS),
        )
    }
)
"""Number of elements -> OBIS code of each position."""

EXPONENTS: Final = MappingProxyType({"A": -3, "V": -1, "kWh": -3, "kvarh": -3, "W": 0, "var": 0})
"""Unit -> power of ten of a count."""
