"""The protocols and line settings that a scan tries, and the registers that it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kamstrup_mqtt.core.model import SerialParams, SourceId
from kamstrup_mqtt.links.address import PortAddress, SerialDevice
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.protocols.base import ProtocolSpec

ALL_REGISTERS = 0x10000
"""Number of possible KMP registers."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A protocol and the line settings to try it with.

    line     the settings as the documents write them: "300 7E1"
    model    the model that it is if it answers; None: found out from the response
    options  further options of the codec
    """

    protocol: str
    params: SerialParams
    line: str
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> ProtocolSpec:
        return registry.find_protocol(self.protocol)

    @property
    def sources(self) -> tuple[SourceId, ...]:
        """The sources that its model lists; empty if the model is not known yet."""
        if self.model is None:
            return ()
        groups = registry.all_models()[self.model].profiles[self.protocol].groups
        return tuple(source for group in groups.values() for source in group)


def polled_candidates(address: PortAddress) -> Iterator[Candidate]:
    """The candidates for an optical head on an unknown meter, in the order to try them.

    The order is that of iec62056_21.md 7. A bridge has fixed line settings, so that each protocol
    is tried once there.
    """
    is_local = isinstance(address, SerialDevice)
    iec = registry.find_protocol("iec62056-21").serial
    yield Candidate("kmp", registry.find_protocol("kmp").serial, "1200 8N2")
    if is_local:
        yield Candidate("kmp", SerialParams(9600), "9600 8N1", "kamstrup_382")
    yield Candidate("kmp-ascii", registry.find_protocol("kmp-ascii").serial, "1200 8E2", "e685_382")
    yield Candidate("iec62056-21", iec, "300 7E1", options={"baudrate": 300})
    if is_local:
        fast = replace(iec, baudrate=9600)
        yield Candidate("iec62056-21", fast, "9600 7E1", options={"baudrate": 9600})
        slow = registry.find_protocol("multical-66").serial
        yield Candidate("multical-66", slow, "300 7E2", "multical_66")


def listed_registers() -> list[int]:
    """Every register that some KMP model lists, in ascending order."""
    numbers: set[int] = set()
    for model in registry.models_of("kmp").values():
        profile = model.profiles["kmp"]
        sources = (*(s for group in profile.groups.values() for s in group), *profile.more)
        numbers.update(source for source in sources if isinstance(source, int))
    return sorted(numbers)
