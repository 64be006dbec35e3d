"""Which meter it is that pushes: by its maker, its phases and its type number.

    Kamstrup    684 connected directly, 685 behind current transformers, 686 one phase
    Aidon       6515 one phase, 6525 three-wire, 6534 four-wire; EMBRIQ_V1_1 is Landis+Gyr's list
    Kaifa       MA105 one phase, MA304H three phases, MA304T behind transformers

Phases are counted by the voltages of a list: a Kamstrup meter sends null for those it lacks.
Source: Kamstrup HAN-NVE interface description rev 3.1; "OBIS List Information" of Aidon; recorded
lists of all of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final, TypeAlias

from kamstrup_mqtt.core.model import DIRECT, TRANSFORMERS, Object
from kamstrup_mqtt.protocols.base import Message

MODEL: Final = "recognised"
MAKER: Final = "manufacturer"
CONNECTION: Final = "connection"
KEYS: Final = (MODEL, MAKER, CONNECTION)
"""Under which names it is learned: the id of a model, its maker, DIRECT or TRANSFORMERS."""

DetectModel: TypeAlias = Callable[[str, int, str | None], str | None]
"""Maker, phases and list identifier -> the id of a model, None where no model has such a list."""

TYPES: Final = ("1-1:96.1.1.255", "0-0:96.1.7.255")

_MAKERS: Final = {"kamstrup": "Kamstrup", "aidon": "Aidon", "kaifa": "Kaifa"}
_DIRECT: Final = ("684", "686", "6515", "6525", "6534", "MA105", "MA304H")
_TRANSFORMERS: Final = ("685", "MA304T")
_MILLIAMPERES: Final = -3


def no_model(maker: str, phases: int, list_id: str | None) -> None:
    """A `DetectModel` that knows no models."""


def recognise(
    message: Message, short: Mapping[str, Object], detect_model: DetectModel
) -> dict[str, str]:
    """What a list shows of its meter, by KEYS. `short`: its objects by C.D.E."""
    maker = message.header.get("maker")
    if not isinstance(maker, str):
        return {}
    found = {}
    if _is_there(short.get("32.7.0")):
        phases = 3 if _is_there(short.get("72.7.0")) else 1
        list_id = message.header.get("list_id")
        list_id = list_id if isinstance(list_id, str) else None
        model = detect_model(maker, phases, list_id)
        if model is not None:
            found[MODEL] = model
        embriq = list_id is not None and list_id.startswith("EMBRIQ")
        found[MAKER] = "Landis+Gyr" if embriq else _MAKERS[maker]
    connection = _connection(maker, message, short)
    return found if connection is None else {**found, CONNECTION: connection}


def _connection(maker: str, message: Message, short: Mapping[str, Object]) -> str | None:
    told = {str(obj.id): obj.value for obj in message.objects if obj.id in TYPES}
    type_ = next((str(value) for value in told.values() if value is not None), "")
    current = short.get("31.7.0")
    if type_.startswith(_TRANSFORMERS):
        return TRANSFORMERS
    if type_.startswith(_DIRECT):
        return DIRECT
    if maker != "kamstrup" or current is None or not isinstance(current.value, Decimal):
        return None
    # only those behind transformers count 0.001 A
    fine = current.value.as_tuple().exponent == _MILLIAMPERES
    return TRANSFORMERS if fine else None


def _is_there(obj: Object | None) -> bool:
    return obj is not None and obj.value is not None
