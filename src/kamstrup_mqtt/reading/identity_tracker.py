"""Notices which meter answers, and when another one does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache

from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.core.model import DecodedValue, Identity, SourceId
from kamstrup_mqtt.reading.context import ReaderContext

_DETAILS = {
    "software_version": "sw_version",
    "hardware_version": "hw_version",
    "meter_type": "model_id",
}


class IdentityTracker:
    """Reports the serial number and details of the meter on one line.

    `on_replaced` is called when another meter answers, before its identity is reported.
    """

    __slots__ = ("_context", "_on_replaced", "_reported")

    def __init__(self, context: ReaderContext, on_replaced: Callable[[], None]) -> None:
        self._context = context
        self._on_replaced = on_replaced
        self._reported: Identity | None = None

    def report_identity(self, objects: tuple[DecodedValue, ...]) -> bool:
        """Report the identity that these objects contain, and return whether there is one."""
        config = self._context.config
        for source in config.plan.profile.identity:
            serial = ""
            for obj in objects:
                if obj.id == source:
                    serial = _text(obj)
            if serial:
                details = self._details(serial, objects)
                identity = Identity(meter=config.id, serial=serial, source=source, details=details)
                if identity != self._reported:
                    self._report(identity)
                return True
        return False

    def _report(self, identity: Identity) -> None:
        state = self._context.state
        if identity.is_other_meter(state.serial, state.serial_source):
            self.replace_meter()
        if state.serial is None:
            state.serial, state.serial_source = identity.serial, identity.source
            self._context.state_file.mark_changed(urgent=True)
        self._reported = identity
        self._context.report_queue.put(identity)

    def replace_meter(self) -> None:
        """Forget everything that belongs to the previous meter."""
        self._context.state.reset()
        self._on_replaced()

    def _details(self, serial: str, objects: tuple[DecodedValue, ...]) -> Mapping[str, str]:
        # a list that contains fewer details than another takes none of them back
        known = self._reported if self._reported and self._reported.serial == serial else None
        details = dict(known.details) if known else {}
        for obj in objects:
            name = _detail_name(self._context.config.spec.key_of, obj.id)
            if name is not None and (text := _text(obj)):
                details[name] = text
        return details


@lru_cache(maxsize=256)  # bounded: a meter may send any source
def _detail_name(key_of: Callable[[SourceId], str | None], source: SourceId) -> str | None:
    """Return the name under which the value of this source is a detail of the device."""
    return _DETAILS.get(key_of(source) or "")


def _text(obj: DecodedValue) -> str:
    value = obj.value
    if value is None:
        return ""
    return decimal_json.format_decimal(value) if isinstance(value, Decimal) else value.strip()
