"""Checks between the meters of a configuration: unique ids, ports that can be shared."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from kamstrup_mqtt.config.meter import Meter
from kamstrup_mqtt.config.meters import MeterConfig
from kamstrup_mqtt.config.section import Fault
from kamstrup_mqtt.links.address import PortAddress, SerialDevice, TcpBridge


def cross_check(meters: Mapping[int, Meter]) -> Iterator[Fault]:
    """Yield the faults between meters (index -> meter): duplicate ids, conflicts at a port."""
    ids: dict[str, Meter] = {}
    ports: dict[object, Meter] = {}
    for index, meter in meters.items():
        first = ids.setdefault(meter.id, meter)
        if first is not meter:
            place = "id" if "id" in meter.model_fields_set else "name"
            yield (
                ("meters", index, place),
                f"the id {meter.id} is used by meter {first.name!r}; give another id",
            )
        owner = ports.setdefault(_same_port(meter.port), meter)
        clash = _clash(owner, meter) if owner is not meter else None
        if clash:
            yield ("meters", index, "port"), clash


def cross_check_raw(raw: object, context: dict[str, Any]) -> Iterator[Fault]:
    """Run `cross_check` on those raw meters that are valid."""
    from pydantic import TypeAdapter  # for faults only

    adapter: TypeAdapter[Meter] = TypeAdapter(MeterConfig)
    valid = {}
    for index, meter in enumerate(raw if isinstance(raw, list) else ()):
        try:
            valid[index] = adapter.validate_python(meter, context=context)
        except ValidationError:
            continue  # its faults are reported already
    return cross_check(valid)


def _same_port(port: PortAddress) -> object:
    """Return a value that is equal for all spellings of a port: links to a device, H:1 and h:1."""
    if isinstance(port, TcpBridge):
        return port.host.lower(), port.port
    return os.path.realpath(port.path) if isinstance(port, SerialDevice) else port


def _clash(owner: Meter, meter: Meter) -> str | None:
    """Return why two meters cannot share a port, None if they can."""
    if owner.port != meter.port:
        return f"is the same port as {owner.port} of meter {owner.name!r}; write both the same way"
    if owner.is_pushed or meter.is_pushed:
        return f"{meter.port} is used by meter {owner.name!r}; a HAN port cannot be shared"
    if owner.protocol_name != meter.protocol_name:
        return (
            f"{meter.port} is used by meter {owner.name!r} with protocol {owner.protocol_name};"
            " meters on one port must speak the same protocol"
        )
    if owner.serial_params() != meter.serial_params():
        return (
            f"{meter.port} is opened as {owner.serial_params()} for meter {owner.name!r},"
            f" as {meter.serial_params()} here; give both the same line settings"
        )
    return None
