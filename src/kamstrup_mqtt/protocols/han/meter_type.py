"""The model of a pushing meter, by its maker, its phases and its type number.

    Kamstrup    684 connected directly, 685 behind current transformers, 686 one phase
    Aidon       6515 one phase, 6525 three-wire, 6534 four-wire; EMBRIQ_V1_1 is Landis+Gyr's list
    Kaifa       MA105 one phase, MA304H three phases, MA304T behind transformers

The voltages of a list show the phases: a Kamstrup meter sends null for a phase it lacks. Source:
Kamstrup HAN-NVE interface description rev 3.1; "OBIS List Information" of Aidon; recorded lists of
all of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final, TypeAlias

from kamstrup_mqtt.core.model import DIRECT, TRANSFORMERS, DecodedValue
from kamstrup_mqtt.protocols.base import Message

MODEL_KEY: Final = "recognised"
MAKER_KEY: Final = "manufacturer"
CONNECTION_KEY: Final = "connection"
KEYS: Final = (MODEL_KEY, MAKER_KEY, CONNECTION_KEY)
"""Names under which the facts are remembered: id of the model, maker, DIRECT or TRANSFORMERS."""

DetectModel: TypeAlias = Callable[[str, int, str | None], str | None]
"""Maker, phases and list identifier -> the id of a model, None where no model has such a list."""

TYPE_CODES: Final = ("1-1:96.1.1.255", "0-0:96.1.7.255")

_MAKERS: Final = {"kamstrup": "Kamstrup", "aidon": "Aidon", "kaifa": "Kaifa"}
_DIRECT: Final = ("684", "686", "6515", "6525", "6534", "MA105", "MA304H")
_TRANSFORMERS: Final = ("685", "MA304T")
_MILLIAMPERES: Final = -3


def no_model(maker: str, phases: int, list_id: str | None) -> None:
    """A `DetectModel` that knows no models."""


def identify_model(
    message: Message, by_code: Mapping[str, DecodedValue], detect_model: DetectModel
) -> dict[str, str]:
    """Return what a list says about its meter, by KEYS.

    by_code  its objects by C.D.E of their codes
    """
    maker = message.header.get("maker")
    if not isinstance(maker, str):
        return {}
    found = {}
    if _has_value(by_code.get("32.7.0")):
        phases = 3 if _has_value(by_code.get("72.7.0")) else 1
        list_id = message.header.get("list_id")
        list_id = list_id if isinstance(list_id, str) else None
        model = detect_model(maker, phases, list_id)
        if model is not None:
            found[MODEL_KEY] = model
        embriq = list_id is not None and list_id.startswith("EMBRIQ")
        found[MAKER_KEY] = "Landis+Gyr" if embriq else _MAKERS[maker]
    connection = _connection(maker, message, by_code)
    return found if connection is None else {**found, CONNECTION_KEY: connection}


def _connection(maker: str, message: Message, by_code: Mapping[str, DecodedValue]) -> str | None:
    types = {str(obj.id): obj.value for obj in message.objects if obj.id in TYPE_CODES}
    type_ = next((str(value) for value in types.values() if value is not None), "")
    current = by_code.get("31.7.0")
    if type_.startswith(_TRANSFORMERS):
        return TRANSFORMERS
    if type_.startswith(_DIRECT):
        return DIRECT
    if maker != "kamstrup" or current is None or not isinstance(current.value, Decimal):
        return None
    # only meters behind transformers count 0.001 A
    fine = current.value.as_tuple().exponent == _MILLIAMPERES
    return TRANSFORMERS if fine else None


def _has_value(obj: DecodedValue | None) -> bool:
    return obj is not None and obj.value is not None
