"""Any bytes inside a frame whose checksums are right: chance does not bring a fuzzer there.

A conversation's answers stand one after the other in the data, each behind a byte with its length.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, cast

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.limits import DEFAULT_LIMITS
from kamstrup_mqtt.meters.mapping import map_objects
from kamstrup_mqtt.meters.plan import ReadingPlan
from kamstrup_mqtt.protocols.base import Frame, PolledCodec, PollRequest, Send, Timestamp
from kamstrup_mqtt.protocols.han import HanCodec
from kamstrup_mqtt.protocols.han.cipher import Keys, seal
from kamstrup_mqtt.protocols.han.framing import encode_frame as hdlc
from kamstrup_mqtt.protocols.kmp import KmpCodec, log_reading
from kamstrup_mqtt.protocols.kmp.framing import encode_frame
from kamstrup_mqtt.protocols.kmp.log_reading import Query
from kamstrup_mqtt.protocols.kmp_ascii.framing import encode
from kamstrup_mqtt.reading.live_counters import LiveCounters
from kamstrup_mqtt.reading.plausibility import PlausibilityFilter
from kamstrup_mqtt.storage.state_schema import ReaderState
from tests.support.iec_recordings import SEED

Wrap = Callable[[bytes], bytes]
Target = Callable[[bytes], None]

LONGEST = 1000
"""Bytes that a frame of any protocol can hold."""
TITLE = bytes.fromhex("4B414D4500000001")
EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
STEPS = 5000
"""More than any conversation has."""


def kmp(payload: bytes) -> bytes:
    return encode_frame("answer", payload)


def kmp_ascii(payload: bytes) -> bytes:
    return encode("H", payload)


def iec(text: bytes) -> bytes:
    """A readout of the meter of the seed with other data sets."""
    ident = SEED[: SEED.index(b"\x02") + 1]
    block = bytes(byte & 0x7F for byte in text if byte & 0x7F not in b"\x02\x03!") + b"!\r\n\x03"
    return ident + block + bytes((sum(block) & 0x7F,))


def han(message: bytes) -> bytes:
    return hdlc(b"\xe6\xe7\x00" + message, b"\x2b", b"\x21", 0x13)


def sealed(security: int) -> Wrap:
    """Return a function that wraps a message as an encrypted frame with a valid tag."""

    def wrap(message: bytes) -> bytes:
        return han(seal(message, TITLE, 1, Keys(EK, AK), security))

    return wrap


def frames(codec: Any, wire: bytes) -> Iterator[Frame]:
    framer = codec.framer()
    framer.receive_data(wire)
    framer.end_burst()
    while (event := framer.next_event()) is not None:
        if isinstance(event, Frame):
            yield event


def inside(make: Callable[[], Any], wrap: Wrap) -> Target:
    """Decode a frame as a pushed one, or as the command `decode` does."""

    def run(data: bytes) -> None:
        codec = make()
        for frame in frames(codec, wrap(data[:LONGEST])):
            try:
                codec.decode(frame)
            except MeterError:
                continue

    return run


def heard(make: Callable[[], HanCodec], wrap: Wrap, plan: ReadingPlan) -> Target:
    """A list that comes again and again: decoded, mapped, judged, counted on."""

    def run(data: bytes) -> None:
        codec = make()
        plausibility = PlausibilityFilter(
            plan, ReaderState(), DEFAULT_LIMITS, has_weak_checksum=False
        )
        live_counters = LiveCounters(plan.live_keys, {}, exact=True)
        for second in (0.0, 10.0, 20.0):
            for frame in frames(codec, wrap(data[:LONGEST])):
                received_at = Timestamp(None, second)
                try:
                    found = codec.process(codec.decode(frame), received_at)
                except MeterError:
                    continue
                codec.learn()
                groups = map_objects(plan, found.objects).groups
                values = {key: m for group in groups.values() for key, m in group.items()}
                accepted = plausibility.judge(values, None, second).values
                live_counters.update(
                    accepted,
                    received_at,
                    register_age=found.register_age,
                    scale_trusted=found.scale_trusted,
                )

    return run


def talk(make: Callable[[], Any], wrap: Wrap, begin: Callable[[Any], Any]) -> Target:
    """A meter whose checksums are right and whose answers are anything."""

    def run(data: bytes) -> None:
        codec = make()
        framer = codec.framer()
        talking: Generator[Any, Frame | None, Any] = begin(codec)
        answers = pieces(data)
        try:
            step = next(talking)
            for _ in range(STEPS):
                step = answered(talking, step, framer, wrap, answers)
            raise AssertionError("it never ends")
        except (StopIteration, MeterError):
            return

    return run


def pieces(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        yield data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]


def answered(talking: Any, step: Any, framer: Any, wrap: Wrap, answers: Iterator[bytes]) -> Any:
    if not isinstance(step, Send) or not step.expects_response:
        return talking.send(None)
    piece = next(answers, None)
    if piece is not None:
        framer.receive_data(wrap(piece))
        framer.end_burst()
        while (event := framer.next_event()) is not None:
            if isinstance(event, Frame) and event.direction != "request":
                return talking.send(event)
    return talking.throw(MeterError(LinkState.NO_BYTES, "nothing"))


def asking(model: str, protocol: str) -> Callable[[Any], Any]:
    dialect = registry.all_models()[model].profiles[protocol]
    sources = tuple(source for group in dialect.groups.values() for source in group)
    return lambda codec: cast(PolledCodec, codec).poll(
        PollRequest(sources=sources, identity=dialect.identity)
    )


def logs(codec: KmpCodec) -> Generator[Any, Frame | None, None]:
    """Everything that is asked of a meter's loggers, and its clock."""
    query = Query(registers=(348, 60, 68), start="2020-01-01T00:00:00")
    conversations = (
        lambda: log_reading.configuration(codec, 2),
        lambda: log_reading.past(codec, 3, query),
        lambda: log_reading.by_record(codec, 1, query),
        lambda: log_reading.read_clock(codec),
    )
    for begin in conversations:
        try:
            yield from cast(Generator[Any, Frame | None, Any], begin())
        except MeterError:
            continue


def codec_of(protocol: str, **options: Any) -> Callable[[], Any]:
    return lambda: registry.all_protocols()[protocol].make_codec(**options)


def targets(plan: ReadingPlan) -> Mapping[str, Target]:
    """By name; `plan` is that of a HAN meter."""
    scaled = codec_of("han", energy_scale=10)
    keys = codec_of("han", energy_scale=10, encryption_key=EK, authentication_key=AK)
    return {
        "kmp_inside": inside(codec_of("kmp"), kmp),
        "kmp_talk": talk(codec_of("kmp"), kmp, asking("multical_403", "kmp")),
        "kmp_found": talk(codec_of("kmp"), kmp, asking("auto", "kmp")),
        "kmp_logs": talk(codec_of("kmp"), kmp, logs),
        "kmp_ascii_inside": inside(codec_of("kmp-ascii"), kmp_ascii),
        "kmp_ascii_talk": talk(codec_of("kmp-ascii"), kmp_ascii, asking("e685_382", "kmp-ascii")),
        "iec62056_21_inside": inside(codec_of("iec62056-21", bcc="sum", parity="hardware"), iec),
        "han_inside": heard(scaled, han, plan),
        "han_learning": heard(codec_of("han"), han, plan),
        "han_sealed": heard(keys, sealed(0x30), plan),
        "han_untagged": heard(keys, sealed(0x20), plan),
    }


def apdu_of(wire: bytes) -> bytes:
    """The message in a frame of the recorded kind (addresses of one byte each, or two)."""
    return wire[wire.index(b"\xe6\xe7\x00") + 3 : -3]


def kmp_payload(wire: bytes) -> bytes:
    (frame, *_) = [*frames(KmpCodec(), wire), Frame(b"", b"", "answer", "")]
    return frame.payload


def seeds(target: str, found: list[bytes]) -> list[bytes]:
    """Seeds made of recorded frames."""
    if target.startswith("han"):
        return [apdu_of(wire) for wire in found if b"\xe6\xe7\x00" in wire]
    if target.startswith("iec"):
        return [wire[wire.index(b"\x02") + 1 : -2] for wire in found if b"\x02" in wire]
    if target.startswith("kmp_ascii"):
        payloads = [_ascii_payload(wire) for wire in found]
    else:
        payloads = [kmp_payload(wire) for wire in found]
    payloads = [payload for payload in payloads if payload]
    if target.endswith("_inside"):
        return payloads
    several = [bytes((len(p[:255]),)) + p[:255] for p in payloads]
    chance = random.Random(1)
    return [*several, *(b"".join(chance.sample(several, min(6, len(several)))) for _ in range(20))]


def _ascii_payload(wire: bytes) -> bytes:
    digits = wire.strip(b"H@\r\x00").decode("ascii", "replace")
    try:
        return bytes.fromhex(digits)[:-1]
    except ValueError:
        return b""
