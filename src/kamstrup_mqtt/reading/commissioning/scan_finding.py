"""Progress and result of a scan, and the configuration that follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from kamstrup_mqtt.core.model import DecodedValue, SerialParams, SourceId
from kamstrup_mqtt.links.address import PortAddress, SerialDevice
from kamstrup_mqtt.meters import detection, registry
from kamstrup_mqtt.meters.model import MeterModel
from kamstrup_mqtt.reading.commissioning.scan_candidates import Candidate

HAN = "han"


class ScanStep(StrEnum):
    """What a scan is doing."""

    LISTEN = "listen"
    TRY = "try"
    IDENTIFY = "identify"
    READ_REGISTERS = "read_registers"
    STOP = "stop"  # the time limit for a battery meter is reached
    SAVE = "save"  # the registers found are in the file


@dataclass(frozen=True, slots=True)
class ScanProgress:
    """A step of a scan.

    message   a sentence about the step; empty if only the counts have changed
    done      registers that were asked for, of `total`
    answered  values that the meter has returned so far
    """

    step: ScanStep
    message: str = ""
    done: int = 0
    total: int = 0
    answered: int = 0


@dataclass(slots=True)
class ScanFinding:
    """The meter that was found.

    line          the line settings as the documents write them: "300 7E1"
    model         the model to configure
    serial        its serial number; None: not known
    objects       what it answered or sent
    is_encrypted  its lists cannot be read without its keys
    """

    protocol: str
    params: SerialParams
    line: str
    model: str
    serial: str | None
    objects: dict[SourceId, DecodedValue] = field(default_factory=dict)
    is_encrypted: bool = False

    @property
    def is_pushed(self) -> bool:
        """True if the meter sends by itself."""
        return self.protocol == HAN

    @property
    def meter_model(self) -> MeterModel:
        return registry.all_models()[self.model]


def finding_from_response(candidate: Candidate, objects: Iterable[DecodedValue]) -> ScanFinding:
    """Identify the meter that answered a candidate with these objects."""
    by_id = {obj.id: obj for obj in objects}
    if candidate.protocol == "kmp":
        model = detection.detect_model(by_id.values())
        sources: tuple[SourceId, ...] = ("serial_no", 1001)
    else:
        model = candidate.model or detection.detect_model(
            by_id.values(), candidate.protocol, candidate.params.baudrate
        )
        sources = registry.all_models()[model].profiles[candidate.protocol].identity
    serial = first_text(by_id, sources)
    return ScanFinding(candidate.protocol, candidate.params, candidate.line, model, serial, by_id)


def first_text(objects: dict[SourceId, DecodedValue], sources: Iterable[SourceId]) -> str | None:
    """The value of the first of these sources that has one."""
    values = (objects[source].value for source in sources if source in objects)
    return next((str(value) for value in values if value is not None), None)


def configuration_yaml(address: PortAddress, finding: ScanFinding) -> str:
    """The `meters:` section that makes the daemon read this meter."""
    name = "Main meter" if finding.is_pushed else finding.meter_model.name.replace(":", "")
    lines = [
        "meters:",
        f"  - name: {name}",
        f"    protocol: {finding.protocol}",
        f"    model: {finding.model}",
        f"    port: {address}",
    ]
    if finding.is_encrypted:
        lines += ['    encryption_key: "${GPK60}"', '    authentication_key: "${GPK61}"']
    profile = finding.meter_model.profiles[finding.protocol]
    usual = profile.serial or registry.find_protocol(finding.protocol).serial
    if isinstance(address, SerialDevice) and usual.baudrate != finding.params.baudrate:
        lines.append(f"    baudrate: {finding.params.baudrate}")
    if finding.protocol == "kmp" and not any(profile.groups.values()):
        lines.append("    custom:")
        for number in sorted(id_ for id_ in finding.objects if isinstance(id_, int)):
            key = registry.quantity_for(finding.protocol, None, number).key
            lines += [f"      - register: {number}", f"        name: {key}"]
    return "\n".join(lines)
