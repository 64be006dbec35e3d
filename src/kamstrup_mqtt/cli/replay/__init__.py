"""`kamstrup-mqtt replay`: run a recording through the whole daemon."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kamstrup_mqtt.cli import DONE, FAILED, INTERRUPTED
from kamstrup_mqtt.cli.instance import with_instance
from kamstrup_mqtt.cli.output import put
from kamstrup_mqtt.cli.replay.connections import broker_connector, print_connector
from kamstrup_mqtt.cli.replay.event_loop import ReplayClock, ReplayLoop
from kamstrup_mqtt.cli.replay.recorded_clock import RecordedClock
from kamstrup_mqtt.config import Config, loader
from kamstrup_mqtt.config.redaction import MASK
from kamstrup_mqtt.core import log
from kamstrup_mqtt.core.clock import rfc3339
from kamstrup_mqtt.core.errors import ConfigError, KamstrupMqttError
from kamstrup_mqtt.daemon.app import App, ExitReason
from kamstrup_mqtt.links.address import RecordedLine
from kamstrup_mqtt.links.recording import file_format
from kamstrup_mqtt.links.recording.file_format import Recording
from kamstrup_mqtt.links.recording.player import Player
from kamstrup_mqtt.mqtt import Connector

INSTANCE = "replay"
MAX_SPEED = 1_000_000.0

_LOG = logging.getLogger(__name__)


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "replay",
        help="run a recording through the whole daemon",
        description="Run what `kamstrup-mqtt capture` recorded through the whole daemon, to the"
        " configured broker or, with --print, to standard output. Bytes of a meter that sends by"
        " itself arrive at their recorded time. A recorded request gets its recorded answer, and"
        " any other request gets none. Times are those of the recording. The replay publishes as"
        " another mqtt.instance, accepts no commands, and announces nothing to Home Assistant. It"
        " does not touch the state and the topics of the daemon.",
        epilog="Exit code: 0 replayed to the end, 1 the broker was never reached, 2 FILE or the"
        " configuration is wrong, 130 interrupted.",
    )
    parser.add_argument("recording", type=Path, metavar="FILE", help="the recording")
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help="the configuration: broker, meters (by id) and their keys; with --print it may be"
        " left out, then the meters are configured as they were when they were recorded",
    )
    parser.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="N",
        help="N times as fast as recorded, or max (default: 1)",
    )
    parser.add_argument(
        "--print",
        action="store_true",
        help="print each message as a line of JSON instead of publishing it",
    )
    parser.add_argument(
        "--instance",
        default=INSTANCE,
        metavar="NAME",
        help="publish as this mqtt.instance, not the daemon's own (default: %(default)s)",
    )
    parser.add_argument(
        "--discovery", action="store_true", help="announce the meters to Home Assistant too"
    )
    parser.set_defaults(func=run)


def _speed(text: str) -> float | None:
    """Parse --speed. None means as fast as possible."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed <= MAX_SPEED:
        raise argparse.ArgumentTypeError(f"{text!r}: give max, or how many times as fast, as in 10")
    return speed


def run(args: argparse.Namespace) -> int:
    """Run the command. See `add_parser` for the exit codes."""
    config = _config(args)
    found = file_format.read_recording(args.recording)
    if config is None:
        config = _recorded_config(args.recording, found)
    log.set_up(config.log_level, verbose=args.verbose, secrets=config.secrets())
    if args.print and not args.verbose:
        logging.getLogger("kamstrup_mqtt.mqtt").setLevel(logging.WARNING)  # there is no broker
    replay = Replay(
        found, _replay_config(config, found, args), ReplayClock(args.speed), printing=args.print
    )
    with asyncio.Runner(loop_factory=lambda: ReplayLoop(replay.time)) as runner:
        ending = runner.run(replay.run())
    replay.report(sys.stderr if args.print else sys.stdout)
    if ending is ExitReason.INTERRUPTED:
        return INTERRUPTED
    return DONE if replay.reached else FAILED


def _config(args: argparse.Namespace) -> Config | None:
    if args.config is None:
        if not args.print:
            raise ConfigError("-c is missing: it names the broker; or give --print")
        return None
    config = loader.load(args.config)
    if not args.print and args.instance == config.mqtt.instance:
        raise ConfigError(
            f"--instance {args.instance}: that is the daemon's own; its topics are not for old"
            " readings, give another name"
        )
    return config


def _recorded_config(path: Path, recorded: Recording) -> Config:
    """Return the meters as they were configured for the recording, without their keys."""
    meters = [{k: v for k, v in m.items() if v != MASK} for m in recorded.header.meters]
    try:
        return Config.model_validate({"meters": meters})
    except ValueError:
        raise ConfigError(
            f"{path}: its meters cannot be configured by this version; give -c"
        ) from None


def _replay_config(config: Config, recorded: Recording, args: argparse.Namespace) -> Config:
    """Return the configuration of the replay.

    It has the meters that are both recorded and configured, and the recording as their ports. It
    shares neither state nor topics with the daemon. Raises ConfigError.
    """
    configured = {meter.id: meter for meter in config.meters}
    both = [id_ for id_ in recorded.meters if id_ in configured]
    if not both:
        raise ConfigError(
            f"none of the recorded meters ({', '.join(recorded.meters)}) is configured"
            f" ({', '.join(configured)}); the ids must be the same"
        )
    for id_ in recorded.meters:
        if id_ not in configured:
            _LOG.warning("%s was recorded, but is not configured: left out", id_)
    meters = tuple(configured[i].model_copy(update={"port": RecordedLine(i)}) for i in both)
    config = with_instance(config, args.instance)
    return config.model_copy(
        update={
            "meters": meters,
            "mqtt": config.mqtt.model_copy(update={"commands": False}),
            "homeassistant": config.homeassistant.model_copy(update={"enabled": args.discovery}),
            "state_directory": None,
            "spool": config.spool.model_copy(update={"mode": "memory"}),
        }
    )


class Replay:
    """Runs a recording through the daemon. `reached` is True once a message was published."""

    def __init__(
        self, recorded: Recording, config: Config, time: ReplayClock, *, printing: bool
    ) -> None:
        self.time = time
        self.reached = False
        self._recording = recorded
        self._config = config
        self._printing = printing
        self._print_error: Exception | None = None
        self._stop: Callable[[], None] = lambda: None
        self._clock = RecordedClock(recorded.header.started, time.time)
        self._player: Player | None = None
        self._runs = 0
        self._seen_records: set[str] = set()
        self._readings: Counter[str] = Counter()
        self._counts: dict[str, Counter[str]] = {meter.id: Counter() for meter in config.meters}
        self._records = {config.mqtt.topics.history(meter.id): meter.id for meter in config.meters}

    async def run(self) -> ExitReason:
        """Run until the recording ends or a signal arrives. Raises an error of standard output."""
        loop = asyncio.get_running_loop()
        ids = {meter.id for meter in self._config.meters}
        self._player = Player(self._recording, ids, loop.time())
        playing = asyncio.create_task(self._player.play())
        try:
            with tempfile.TemporaryDirectory(prefix="kamstrup-mqtt-") as directory:
                ending = ExitReason.RELOAD
                while ending is ExitReason.RELOAD:  # the model of a meter was detected
                    ending = await self._run_daemon(directory, self._player, playing)
        finally:
            playing.cancel()
            await asyncio.wait([playing])
        if self._print_error is not None:
            raise self._print_error
        if not playing.cancelled():
            playing.result()
        return ending

    async def _run_daemon(
        self, directory: str, player: Player, playing: asyncio.Task[None]
    ) -> ExitReason:
        self._runs += 1
        app = App(
            self._config,
            environ={"STATE_DIRECTORY": directory, "RUNTIME_DIRECTORY": directory},
            clock=self._clock,
            exit_timer=lambda _: None,  # it would count real seconds
            open_link=player.open,
            connect=self._connector(),
            seed=f"{self._recording.header} {self._runs}",
        )
        self._stop = partial(app.request_exit, ExitReason.STOPPED)
        playing.add_done_callback(lambda _: app.request_exit(ExitReason.STOPPED))
        ending = await app.run()
        for id_, counters in app.counters.items():
            self._counts[id_].update(frames=counters.frames, dropped=counters.dropped)
        return ending

    def _connector(self) -> Connector:
        if self._printing:
            return print_connector(self._print)
        return broker_connector(self._count_message)

    def _count_message(self, topic: str, payload: str, retained: bool) -> None:
        self.reached = True
        if (
            topic in self._records and payload not in self._seen_records
        ):  # a record may be sent again
            self._seen_records.add(payload)
            self._readings[self._records[topic]] += 1

    def _print(self, topic: str, payload: str, retained: bool) -> None:
        self._count_message(topic, payload, retained)
        value = payload if payload.startswith("{") else json.dumps(payload)
        time = json.dumps(rfc3339(self._clock.now()))
        if self._print_error is None:
            try:
                put(
                    f'{{"time": {time}, "topic": {json.dumps(topic)},'
                    f' "retain": {json.dumps(retained)}, "payload": {value}}}',
                    flush=True,
                )
            except (BrokenPipeError, KamstrupMqttError) as error:
                self._print_error = error  # raised by `run`: the session has not failed
                self._stop()

    def report(self, stream: Any) -> None:
        """Print one line for each meter, and notes about the recording and its topics."""
        stats = self._player.stats if self._player else {}
        for id_, counts in self._counts.items():
            line = stats[id_]
            requests = f"{line.matched} requests answered, {line.unmatched} not, "
            print(
                f"{id_}: {requests if line.matched or line.unmatched else ''}"
                f"{line.received} of {line.recorded} bytes, {counts['frames']} frames,"
                f" {counts['dropped']} dropped, {self._readings[id_]} readings",
                file=stream,
            )
        if self._recording.end is None:
            print("the recording has no end: it was killed, or the disk was full", file=stream)
        if not self._printing and self.reached:
            root = self._config.mqtt.topics.root
            print(
                f"its topics stay on the broker under {root}; kamstrup-mqtt remove -c ..."
                f" --instance {self._config.mqtt.instance} clears them",
                file=stream,
            )
