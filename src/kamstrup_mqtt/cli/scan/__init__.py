"""`kamstrup-mqtt scan`: find out what is on a port."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from kamstrup_mqtt.cli import DONE, FAILED, INTERRUPTED, tables
from kamstrup_mqtt.cli.arguments import minutes, positive_minutes, positive_seconds, seconds
from kamstrup_mqtt.cli.kmp_line import add_port_argument, port_address
from kamstrup_mqtt.cli.objects import key_of
from kamstrup_mqtt.cli.scan.passive import HAN, Ear, Pushed
from kamstrup_mqtt.cli.scan.record import EVERYTHING, Record
from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.core.errors import ConfigError, LinkError, MeterError
from kamstrup_mqtt.core.model import DecodedValue, SerialParams, SourceId
from kamstrup_mqtt.links.address import PortAddress, SerialDevice
from kamstrup_mqtt.links.base import Link
from kamstrup_mqtt.links.open_link import open_link
from kamstrup_mqtt.meters import detection, registry
from kamstrup_mqtt.meters.model import MeterModel
from kamstrup_mqtt.protocols.base import PolledCodec, PollRequest, PollResponse, ProtocolSpec
from kamstrup_mqtt.reading.conversation import ConversationRunner
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.storage.state_file import state_directory

LISTEN = 1.0
"""Minutes that a scan listens at most for a meter that sends by itself."""
AWAKE = 20.0
"""Minutes that a scan keeps the meter's eye awake at most."""
PAUSE = 0.5
"""Seconds of rest between two requests: the meter has other things to do."""
CHUNK = 8
ANSWER_TIME = 0.35
"""Seconds in which a meter begins to answer, for the estimate."""

_log = logging.getLogger("kamstrup_mqtt.scan")


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "scan",
        help="find out what is on a port: protocol, speed, model, registers",
        description="Listen for a meter that sends by itself (HAN), then try the protocols one"
        " after the other; name the meter, read every register that is known, and print a piece of"
        " configuration.",
    )
    add_port_argument(parser)
    parser.add_argument(
        "--all",
        action="store_true",
        help="kmp: ask for all 65,536 registers, which takes hours; can be interrupted (Ctrl-C)"
        " and goes on where it was when called again",
    )
    parser.add_argument("--resume", metavar="FILE", help="where --all keeps what it has found")
    parser.add_argument(
        "--awake",
        type=positive_minutes,
        default=AWAKE,
        metavar="MINUTES",
        help=f"stop after this time, to spare a battery (default: {AWAKE:g})",
    )
    parser.add_argument(
        "--listen",
        type=minutes,
        default=LISTEN,
        metavar="MINUTES",
        help="for a meter that sends by itself, at most; 12 s of it first, the rest if bytes come"
        f" or nothing answers (default: {LISTEN:g}; 0: not at all)",
    )
    parser.add_argument(
        "--pause",
        type=seconds,
        default=PAUSE,
        metavar="S",
        help=f"rest between two requests (default: {PAUSE:g})",
    )
    parser.add_argument(
        "--timeout", type=positive_seconds, metavar="S", help="for an answer to begin"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(func=run)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way in which a meter may be spoken to."""

    protocol: str
    params: SerialParams
    line: str
    model: str | None = None
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def spec(self) -> ProtocolSpec:
        return registry.all_protocols()[self.protocol]


def attempts(address: PortAddress) -> Iterator[Attempt]:
    """The order of iec62056_21.md 7, for a head whose meter nobody knows. Behind a bridge the
    speed cannot be changed: each protocol is tried once, as the bridge is set."""
    local = isinstance(address, SerialDevice)
    kmp, ascii_, iec = (
        registry.all_protocols()[name].serial for name in ("kmp", "kmp-ascii", "iec62056-21")
    )
    yield Attempt("kmp", kmp, "1200 8N2")
    if local:
        yield Attempt("kmp", SerialParams(9600), "9600 8N1", "kamstrup_382")
    yield Attempt("kmp-ascii", ascii_, "1200 8E2", "e685_382")
    yield Attempt("iec62056-21", iec, "300 7E1", options=(("baudrate", 300),))
    if local:
        fast = replace(iec, baudrate=9600)
        yield Attempt("iec62056-21", fast, "9600 7E1", options=(("baudrate", 9600),))
        old = registry.all_protocols()["multical-66"].serial
        yield Attempt("multical-66", old, "300 7E2", "multical_66")


@dataclass(slots=True)
class Found:
    """What answered, or sent by itself (`encrypted`: what only its keys can read)."""

    attempt: Attempt
    model: str
    serial: str | None
    objects: dict[SourceId, DecodedValue] = field(default_factory=dict)
    encrypted: bool = False


def run(args: argparse.Namespace) -> int:
    """Scan and print. 0: a meter was found; 1: none, or it fell silent; 130: interrupted, with
    what was found until then."""
    address = port_address(args)
    if args.resume and not args.all:
        raise ConfigError("--resume means nothing without --all")
    scan = _Scan(args, address)
    code = DONE
    try:
        asyncio.run(scan.run())
    except KeyboardInterrupt:
        print("\ninterrupted", end="", file=sys.stderr)
        print("" if scan.found else ": no meter had answered yet", file=sys.stderr)
        code = INTERRUPTED
    except (MeterError, LinkError) as error:
        if scan.found is None:
            raise
        print(f"kamstrup-mqtt: {error}\nthis is what came until then", file=sys.stderr)
        code = FAILED
    if scan.found is not None:
        _print(args, address, scan.found)
        return code
    if code == DONE:
        print(
            "no meter answered: is the head on the meter's eye and the meter awake (press a"
            " button)? `kamstrup-mqtt align` shows what comes back. A HAN port must have been"
            " switched on by the grid company",
            file=sys.stderr,
        )
        return FAILED
    return code


class _Scan:
    def __init__(self, args: argparse.Namespace, address: PortAddress) -> None:
        self._args = args
        self._address = address
        self._end = time.monotonic() + args.awake * 60
        self.found: Found | None = None

    async def run(self) -> None:
        ear = Ear(self._address, self._args.listen * 60, self._say)
        if self._heard(await ear.first()):
            return
        if not await self._ask():
            self._heard(await ear.last())

    def _heard(self, pushed: Pushed | None) -> bool:
        if pushed is None:
            return False
        attempt = Attempt(HAN, pushed.params, str(pushed.params), "auto")
        self.found = Found(attempt, "auto", pushed.serial, pushed.objects, pushed.encrypted)
        return True

    async def _ask(self) -> bool:
        """Whether a meter answered."""
        for attempt in attempts(self._address):
            self._say(f"trying {attempt.protocol} at {attempt.line} ...")
            link = await open_link(self._address, attempt.params)
            try:
                if await self._try(attempt, link):
                    return True
            finally:
                await link.close()
        return False

    async def _try(self, attempt: Attempt, link: Link) -> bool:
        assert attempt.spec.timings is not None, "a polled protocol has timings"
        timings = replace(attempt.spec.timings, tries=2)
        if self._args.timeout is not None:
            timings = replace(timings, response_timeout=self._args.timeout)
        options = {**dict(attempt.options), "timings": timings}
        codec = cast(PolledCodec, attempt.spec.make_codec(**options))
        exchange = ConversationRunner(link, codec.framer(), Counters(), _log)
        kmp = attempt.protocol == "kmp"
        listed = () if attempt.model is None else _listed(attempt.model, attempt.protocol)
        ask = PollRequest(sources=() if kmp else listed, identity=("serial_no",) if kmp else ())
        try:
            answer = await exchange.run(codec.poll(ask))
            if kmp:
                self._say("a KMP meter answers; which model?")
                probes = PollRequest(
                    sources=detection.detection_registers(), identity=("serial_no", 1001)
                )
                answer = await exchange.run(codec.poll(probes))
        except MeterError as error:
            _log.debug("%s", error)
            return False
        self.found = _found(attempt, answer)
        if kmp:
            await self._registers(exchange, codec, self.found)
        return True

    async def _registers(
        self, exchange: ConversationRunner, codec: PolledCodec, found: Found
    ) -> None:
        record = self._record(found) if self._args.all else None
        wanted: Sequence[int] = range(EVERYTHING) if self._args.all else known_registers()
        done = record.load(found.objects) if record is not None else 0
        if record is not None:
            self._announce(found, len(wanted) - done)
        todo = [n for n in wanted[done:] if self._args.all or n not in found.objects]
        try:
            for at in range(0, len(todo), CHUNK):
                if at and time.monotonic() > self._end:  # each call brings it on
                    self._say(
                        f"stopped after {self._args.awake:g} min, to spare the meter's battery;"
                        " call the command again to go on"
                    )
                    return
                await self._chunk(exchange, codec, found, todo[at : at + CHUNK])
                done += len(todo[at : at + CHUNK])
                self._progress(at + CHUNK, len(todo), found)
        finally:
            self._say("")
            if record is not None:
                record.save(found.objects, done)

    async def _chunk(
        self, exchange: ConversationRunner, codec: PolledCodec, found: Found, registers: list[int]
    ) -> None:
        for left in (1, 0):
            try:
                answer = await exchange.run(codec.poll(PollRequest(sources=tuple(registers))))
                break
            except MeterError:
                if not left:
                    raise
                await asyncio.sleep(1.6)
        found.objects.update({obj.id: obj for obj in answer.objects})
        await asyncio.sleep(self._args.pause)

    def _announce(self, found: Found, left: int) -> None:
        hours = hours_for(left, found.attempt.params, self._args.pause)
        self._say(
            f"{left} registers are left to ask for: about {hours:.1f} hours in all, at most"
            f" {self._args.awake:g} min of them now (--awake). Ctrl-C ends it; called again, it"
            " goes on."
        )

    def _progress(self, done: int, total: int, found: Found) -> None:
        if sys.stderr.isatty():
            text = f"\r{min(done, total)} of {total} registers, {len(found.objects)} answered"
            print(text, end="", file=sys.stderr, flush=True)

    def _record(self, found: Found) -> Record:
        name = f"scan-{found.serial or 'unknown'}.json"
        given = self._args.resume
        return Record(Path(given) if given else state_directory(os.environ) / name)

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _listed(model: str, protocol: str) -> tuple[SourceId, ...]:
    groups = registry.all_models()[model].profiles[protocol].groups
    return tuple(source for group in groups.values() for source in group)


def known_registers() -> list[int]:
    """Every register that some KMP model lists."""
    numbers: dict[int, None] = {}
    for model in registry.models_of("kmp").values():
        dialect = model.profiles["kmp"]
        for source in (*(s for group in dialect.groups.values() for s in group), *dialect.more):
            if isinstance(source, int):
                numbers[source] = None
    return sorted(numbers)


def hours_for(registers: int, params: SerialParams, pause: float) -> float:
    """How long it takes to ask for so many registers of which hardly any is there."""
    bits = 1 + params.bytesize + (params.parity != "N") + params.stopbits
    request, answer = 25, 10
    each = (request + answer) * bits / params.baudrate + ANSWER_TIME + pause
    return -(-registers // CHUNK) * each / 3600


def _found(attempt: Attempt, answer: PollResponse) -> Found:
    objects = {obj.id: obj for obj in answer.objects}
    if attempt.protocol == "kmp":
        model = detection.detect_model(answer.objects)
        serial = objects.get("serial_no") or objects.get(1001)
        return Found(attempt, model, _text(serial), objects)
    model = attempt.model or detection.detect_model(
        answer.objects, attempt.protocol, attempt.params.baudrate
    )
    dialect = registry.all_models()[model].profiles[attempt.protocol]
    serial = next((objects[s] for s in dialect.identity if s in objects), None)
    return Found(attempt, model, _text(serial), objects)


def _text(obj: DecodedValue | None) -> str | None:
    return None if obj is None or obj.value is None else str(obj.value)


def _print(args: argparse.Namespace, address: PortAddress, found: Found) -> None:
    spec = found.attempt.spec
    objects = sorted(
        found.objects.values(), key=lambda obj: (isinstance(obj.id, str), str(obj.id).zfill(9))
    )
    if args.json:
        rows = [
            {"id": o.id, "key": key_of(spec, o.id), "value": o.value, "unit": o.unit}
            for o in objects
        ]
        result = {
            "protocol": found.attempt.protocol,
            "line": found.attempt.line,
            "model": found.model,
            "serial": found.serial,
            "objects": rows,
        }
        print(decimal_json.dumps(result, indent=2))
        return
    table = [(o.id, key_of(spec, o.id), o.value, o.unit or "") for o in objects]
    pushed = found.attempt.protocol == HAN
    name = "it sends by itself" if pushed else registry.all_models()[found.model].name
    serial = f", serial number {found.serial}" if found.serial else ""
    if found.encrypted:
        print(
            "its lists are encrypted: the grid company tells its owner the two keys, GPK60 and"
            " GPK61; put them into the environment under these names, or see encryption_key_file",
            file=sys.stderr,
        )
    tables.print_table(
        f"{found.attempt.protocol} at {found.attempt.line}: {name}{serial}",
        ("id", "key", "value", "unit"),
        table,
    )
    print()
    print(config_block(address, found))


def _name(found: Found, model: MeterModel) -> str:
    return "Main meter" if found.attempt.protocol == HAN else model.name.replace(":", "")


def config_block(address: PortAddress, found: Found) -> str:
    """What to write into the configuration."""
    attempt, model = found.attempt, registry.all_models()[found.model]
    lines = [
        "meters:",
        f"  - name: {_name(found, model)}",
        f"    protocol: {attempt.protocol}",
        f"    model: {found.model}",
        f"    port: {address}",
    ]
    if found.encrypted:
        lines += ['    encryption_key: "${GPK60}"', '    authentication_key: "${GPK61}"']
    usual = model.profiles[attempt.protocol].serial or attempt.spec.serial
    local = isinstance(address, SerialDevice)
    if local and usual.baudrate != attempt.params.baudrate:
        lines.append(f"    baudrate: {attempt.params.baudrate}")
    dialect = model.profiles[attempt.protocol]
    if not any(dialect.groups.values()) and attempt.protocol == "kmp":
        lines.append("    custom:")
        numbers = sorted(id_ for id_ in found.objects if isinstance(id_, int))
        for number in numbers:
            key = key_of(attempt.spec, number)
            lines += [f"      - register: {number}", f"        name: {key}"]
    return "\n".join(lines)
