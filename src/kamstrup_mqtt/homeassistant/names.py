"""Names of entities, without the device's name that Home Assistant writes in front of them."""

from __future__ import annotations

from collections.abc import Mapping

from kamstrup_mqtt.homeassistant.messages import Payload


def shorten_names(components: Mapping[str, Payload], device: str) -> None:
    """Remove the device's name from the front of each entity's name, in place.

    A name stays whole if the rest of it is the name of another entity.
    """
    taken = {component["name"].casefold() for component in components.values()}
    for component in components.values():
        short = _without_device(component["name"], device)
        if short.casefold() not in taken:
            taken.add(short.casefold())
            component["name"] = short


def _without_device(name: str, device: str) -> str:
    """Return "Energy" for "Heat energy" of the device "Heat", `name` if nothing would remain."""
    own, words = name.split(), device.split()
    front, rest = own[: len(words)], own[len(words) :]
    if not rest or [w.casefold() for w in front] != [w.casefold() for w in words]:
        return name
    left = " ".join(rest)
    return left[0].upper() + left[1:]
