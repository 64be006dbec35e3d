"""Which model a KMP meter is: by its type number, and by the registers that it answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType

from kamstrup_mqtt.core.model import DecodedValue, SourceId

AUTO = "auto"
"""What a configuration says instead of a model."""

LEARNED = "model"
"""Under which name the found model is remembered."""

PROBES: tuple[SourceId, ...] = (
    *(60, 68, 74, 86, 1, 1023, 404, 1058),
    *(266, 369, 239, 155, 171, 243, 292, 1126),
)
"""The registers that tell models apart."""

UNKNOWN = "kmp_meter"

# GetType: the heat meters as 5512-447 rev M1 lists them (with 15xx through a top module), the
# electricity meters by the first byte, as a head-end's table has them. No source tells those of
# 402, 403, 603, 303 and 21.
_TYPES: Mapping[str, str] = MappingProxyType(
    {f"{top}{low}": "multical_601" for top in ("00", "15") for low in ("01", "04", "05")}
)
_ELECTRICITY: Mapping[int, str] = MappingProxyType(
    {
        **dict.fromkeys((53, 55, 62, 63, 68, 69), "kamstrup_382"),
        **dict.fromkeys((56, 57, 64, 65, 70, 71), "kamstrup_162"),
        **dict.fromkeys((58, 59, 66, 67, 72, 73), "kamstrup_282"),
        **dict.fromkeys((60, 61, 75, 76), "kamstrup_351"),
        90: "kamstrup_omnia",
    }
)
_NAMED = re.compile(r"(?<!\d)(?:403|603|303|402|602|601|302|801)")
"""The number of a model where a name or a type number begins with it; inside another number it
stands by chance."""


def guess(objects: Iterable[DecodedValue]) -> str:
    """The model that answered these objects (of PROBES, and "type"); `kmp_meter` when it is none
    that this program knows."""
    by_id = {obj.id: obj for obj in objects}
    here = {id_ for id_, obj in by_id.items() if obj.value is not None}
    type_ = str(by_id["type"].value) if "type" in here else ""
    if here & {1, 1023} and 60 not in here:
        return _ELECTRICITY.get(int(type_[:2] or "0", 16), "kamstrup_382")
    if 60 not in here:
        return "multical_21" if 68 in here else UNKNOWN
    return _told(by_id.get(404)) or _heat(here, type_)


def _told(meter_type: DecodedValue | None) -> str | None:
    """Register 404, "meter type", where it holds the name of a model.

    Nothing else that is public tells 303, 403 and 603 apart: no source has their GetType, their
    registers and units are listed together, and no 603's values were ever captured.
    """
    if meter_type is None or meter_type.value is None:
        return None
    value = meter_type.value
    text = format(value, "f") if isinstance(value, Decimal) else value
    found = _NAMED.search(text)
    return f"multical_{found[0]}" if found else None


def _heat(here: set[SourceId], type_: str) -> str:
    """By the registers that only some have; `has` is what kmp.md 2.1 lists for the model."""
    if 266 in here:
        return "multical_403" if 369 in here else "multical_302"
    if 171 in here:
        return "multical_801"
    if 155 in here:
        # the types of a 601 are those of a 602 too; it is the later one
        return _TYPES.get(type_, "multical_602")
    return _TYPES.get(type_, "multical_402")
