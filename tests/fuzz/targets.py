"""The fuzz targets: any bytes may be received, and only the documented errors may be raised."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from kamstrup_mqtt.config import Config, loader
from kamstrup_mqtt.core.errors import ConfigError, MeterError
from kamstrup_mqtt.core.topics import Topics
from kamstrup_mqtt.homeassistant.messages import DiscoveryConfig
from kamstrup_mqtt.homeassistant.removal import parse_announced, parse_meter_id
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.mapping import map_objects
from kamstrup_mqtt.mqtt.callbacks import SessionCallbacks
from kamstrup_mqtt.mqtt.connection import Received
from kamstrup_mqtt.mqtt.incoming import Host, IncomingMessages
from kamstrup_mqtt.mqtt.publish_queue import PublishQueue
from kamstrup_mqtt.protocols.base import Frame, PolledCodec, PollRequest, Send
from tests.fuzz import valid_checksums
from tests.protocols.kmp.test_log_messages import A2, HELD, NOTHING, YEARS
from tests.protocols.multical_66.test_multical_66 import ONE, TWO
from tests.support import han_recordings as han
from tests.support import iec_recordings as iec
from tests.support import kmp_ascii_recordings as kmp_ascii
from tests.support.kmp_frames import answer as kmp_answer

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).parent / "corpus"
"""One folder for each target, with the inputs that once went wrong: kept as tests."""
VECTORS = ROOT / "../shared/vectors"

Target = Callable[[bytes], None]

KMP = tuple(
    bytes.fromhex(text)
    for text in (
        "803F100103EA4CB70D",
        "403F1003EA2F040000030E33B2320D",
        "403F0100041BF90126990D",
        "403F0201234567E9560D",
        "403F100080160411012AF02463030D".replace("0080", "001B7F"),
        "403F10003C0804420001E21BBF7E4A0D",
        "403F10079A0D",
    )
)
LOGS = (
    kmp_answer(b"\x3f\xa2" + A2),
    *(kmp_answer(b"\x3f\xb8" + log) for log in (YEARS, NOTHING, HELD)),
    kmp_answer("3F10 03EB30040000 03F818 03EA2F0400 00030E33"),
)
HAN = (han.LIVE_1, han.LIVE_2, han.LIVE_3, han.HOURLY_1)
MULTICAL_66 = (ONE, TWO, b"/#1" + ONE + TWO)
IEC = (iec.OFFICIAL, iec.SEED, iec.ISKRA, iec.OFFICIAL_7E1, iec.TWO_SETS, iec.MODE_D, iec.P1)
OPTIONS: Mapping[str, Mapping[str, Any]] = {"han": {"energy_scale": 10}}
MODELS = {
    "kmp": "multical_403",
    "kmp-ascii": "e685_382",
    "iec62056-21": "e685_382",
    "han": "kamstrup_han_3phase",
    "multical-66": "multical_66",
}
_CONFIG = Config.model_validate(
    {"meters": [{"name": "Heat", "id": "heat", "protocol": "kmp", "port": "tcp://h:1",
                 "model": "multical_403"}]}
)  # fmt: skip


def codec_of(protocol: str) -> Any:
    return registry.all_protocols()[protocol].make_codec(**OPTIONS.get(protocol, {}))


def decoder(protocol: str) -> Target:
    """The first byte says how the others are cut into pieces."""

    def run(data: bytes) -> None:
        if not data:
            return
        codec = codec_of(protocol)
        framer = codec.framer()
        step = 1 + data[0] % 16
        size = 0
        for at in range(1, len(data), step):
            framer.receive_data(data[at : at + step])
            size += read_all(framer, codec)
        framer.end_burst()
        size += read_all(framer, codec)
        # nothing is returned twice or invented (an echoed identification may be returned again)
        assert size <= 2 * len(data)

    return run


def read_all(framer: Any, codec: Any) -> int:
    size = 0
    while (event := framer.next_event()) is not None:
        size += len(event.raw)
        if isinstance(event, Frame):
            try:
                codec.decode(event)
            except MeterError:
                continue
    return size


def conversation(protocol: str) -> Target:
    """A meter that answers whatever it likes; each answer ends with a zero byte in the data."""
    dialect = registry.all_models()[MODELS[protocol]].profiles[protocol]
    sources = tuple(source for group in dialect.groups.values() for source in group)

    def run(data: bytes) -> None:
        codec = cast(PolledCodec, codec_of(protocol))
        framer = codec.framer()
        talk = codec.poll(PollRequest(sources=sources, identity=dialect.identity))
        pieces = iter(data.split(b"\x00"))
        try:
            step = next(talk)
            for _ in range(2000):  # a conversation has an end, whatever comes
                step = answer(talk, step, framer, pieces)
            raise AssertionError("it never ends")
        except (StopIteration, MeterError):
            return

    return run


def answer(talk: Any, step: Any, framer: Any, pieces: Iterable[bytes]) -> Any:
    if not isinstance(step, Send) or not step.expects_response:
        return talk.send(None)
    framer.receive_data(next(iter(pieces), b""))
    framer.end_burst()
    frame = None
    while (event := framer.next_event()) is not None:
        if isinstance(event, Frame):
            frame = event
            break
    if frame is not None:
        return talk.send(frame)
    from kamstrup_mqtt.core.model import LinkState

    return talk.throw(MeterError(LinkState.NO_BYTES, "nothing"))


def config(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "config.yaml"
        path.write_bytes(data)
        try:
            loader.load(path, {"HOME": "/nowhere"})
        except ConfigError as error:
            faults = error.faults
        else:
            return
    assert faults


class _Meters:
    devices: Mapping[str, Any] = {"heat": None}

    def mark_announcements(self) -> None: ...

    def mark_states(self) -> None: ...


def incoming_messages() -> IncomingMessages:
    """Return the message handler of a connection, with callbacks that do nothing."""
    discovery_config = DiscoveryConfig(
        topics=Topics(), prefix="homeassistant", is_modern=True, version="1"
    )
    return IncomingMessages(
        _CONFIG,
        discovery_config,
        cast(PublishQueue, _Meters()),
        Host(name="pi", boot="b"),
        SessionCallbacks(
            bridge_info=dict,
            request_read=lambda _: None,
            report_conflict=lambda _: None,
            expect_progress=lambda _: None,
            warn_once=lambda _: None,
            update_backpressure=lambda: None,
        ),
        choose_birth_delay=lambda: 1.0,
        loop=cast(asyncio.AbstractEventLoop, _Loop()),
    )


class _Loop:
    def time(self) -> float:
        return 0.0

    def call_later(self, *_: Any) -> None: ...


TOPICS = (
    "kamstrup/main/heat/read",
    "kamstrup/main/bridge/info",
    "kamstrup/main/bridge/status",
    "kamstrup/main/heat/state/values",
    "homeassistant/status",
    "homeassistant/device/kamstrup_main_heat/config",
    "homeassistant/device/kamstrup_main_gone/config",
)


def commands(data: bytes) -> None:
    """A message from the broker: the first byte chooses the topic and whether it is retained."""
    if not data:
        return
    topic = TOPICS[data[0] % len(TOPICS)]
    made = incoming_messages()
    made.handle(Received(topic, data[1:], retained=bool(data[0] & 0x80)))
    text = data[1:].decode(errors="replace")
    discovery = made._discovery
    parse_announced(discovery, topic, text)
    parse_meter_id(discovery, text)


def sorting(data: bytes) -> None:
    """The values of a complete HAN list are mapped by the plan."""
    codec = codec_of("han")
    framer = codec.framer()
    framer.receive_data(data)
    while (event := framer.next_event()) is not None:
        if isinstance(event, Frame):
            try:
                message = codec.decode(event)
            except MeterError:
                continue
            map_objects(_HAN_PLAN, message.objects)


def _han_plan() -> Any:
    meter = {"name": "M", "protocol": "han", "port": "tcp://h:2", "energy_scale": 10}
    return Config.model_validate({"meters": [meter]}).meters[0].plan()


_HAN_PLAN = _han_plan()

TARGETS: Mapping[str, Target] = {
    "kmp": decoder("kmp"),
    "kmp_ascii": decoder("kmp-ascii"),
    "iec62056_21": decoder("iec62056-21"),
    "han": decoder("han"),
    "kmp_poll": conversation("kmp"),
    "kmp_ascii_poll": conversation("kmp-ascii"),
    "iec62056_21_poll": conversation("iec62056-21"),
    "multical_66": decoder("multical-66"),
    "multical_66_poll": conversation("multical-66"),
    "han_plan": sorting,
    "config": config,
    "commands": commands,
    **valid_checksums.targets(_HAN_PLAN),
}


RECORDED: Mapping[str, tuple[bytes, ...]] = {
    "kmp_ascii": kmp_ascii.ALL,
    "kmp": (*KMP, *LOGS),
    "iec62056_21": IEC,
    "multical_66": MULTICAL_66,
    "han": HAN,
}
_SOUND = frozenset(valid_checksums.targets(_HAN_PLAN))


def seeds(target: str) -> list[bytes]:
    """Seeds: recorded frames, the shared vectors if present, the files of the project."""
    if target == "config":
        return [(ROOT / "config.example.yaml").read_bytes()]
    if target == "commands":
        texts = (
            b"",
            b"online",
            b'{"host": "x", "boot": null}',
            b'{"o": {"name": "x"}}',
        )
        return [bytes((n,)) + text for n in range(len(TOPICS)) for text in texts]
    protocol = next(name for name in RECORDED if target.startswith(name))
    found = [*RECORDED[protocol], *vectors(protocol)]
    if target in _SOUND:
        return valid_checksums.seeds(target, found)
    if target.endswith("_poll"):
        return [b"\x00".join(found[:40]), *found]
    return [b"\x03" + frame for frame in found] if target == protocol else found


def vectors(protocol: str) -> list[bytes]:
    """The shared recordings; none where they are not at hand."""
    name = {"kmp_ascii": "kmp"}.get(protocol, protocol)
    path = VECTORS / f"{name}.json"
    if not path.exists():
        return []
    entries = json.loads(path.read_text())
    texts = [entry.get("hex_stuffed_by_us") or entry.get("hex") for entry in entries]
    return [bytes.fromhex(text) for text in texts if text]


def corpus(target: str) -> list[Path]:
    folder = CORPUS / target
    return sorted(folder.iterdir()) if folder.is_dir() else []
