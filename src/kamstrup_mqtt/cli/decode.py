"""`kamstrup-mqtt decode`: recorded bytes, requests and answers alike, in words or as JSON."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kamstrup_mqtt.cli import tables
from kamstrup_mqtt.cli.objects import (
    ADVICE,
    ASSUMED_ENERGY_SCALE,
    add_key_arguments,
    add_protocol_arguments,
    energy_options,
    find_protocol,
    key_options,
    list_objects,
)
from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import Json
from kamstrup_mqtt.protocols.base import (
    Codec,
    DroppedBytes,
    DropReason,
    Event,
    Frame,
    Framer,
    Message,
    ProtocolSpec,
)

_CHUNK = 1024
"""Bytes handed to a framer at a time: its buffer has a bound, a recording has none."""

_SEPARATOR = re.compile(r"0[xX](?=[0-9A-Fa-f]{2})|[\s,:;-]+")
_BYTE = re.compile(r"(?:0[xX])?[0-9A-Fa-f]{2}[,:;]?")
_NOT_HEX = re.compile(r"[^0-9A-Fa-f]")


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "decode",
        help="decode recorded bytes",
        description="Decode recorded bytes, requests and answers alike. Exit code: 0 every"
        " recording held a good frame (what else was in it is shown as dropped), 1 one did not,"
        " 2 not hex.",
    )
    add_protocol_arguments(parser)
    add_key_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object per frame")
    parser.add_argument(
        "hex",
        nargs="*",
        metavar="HEX",
        help="a recording, in any spacing and case; each argument is a recording of its own"
        " (only where all are single bytes they are one). Without: each line of standard input",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Decode each recording; see `add_parser` for the exit codes."""
    spec = find_protocol(args.protocol)
    decoder = Decoder(spec, args.energy_scale, as_json=args.json, keys=key_options(spec, args))
    unreadable = False
    for index, text in _recordings(args.hex):
        where = f"argument {index + 1}" if args.hex else f"line {index + 1}"
        try:
            data = parse_hex(text)
        except ValueError as error:
            print(f"{where}: {error}", file=sys.stderr)
            unreadable = True
            continue
        if data or args.hex:
            decoder.recording(index, data)
    if unreadable:
        return 2
    if not decoder.recordings:
        print("nothing to decode: give hex as arguments or on standard input", file=sys.stderr)
        return 1
    return 1 if decoder.fruitless else 0


def _recordings(arguments: list[str]) -> Iterator[tuple[int, str]]:
    """The recordings with their index; standard input line by line, as the lines come."""
    if not arguments:
        if sys.stdin.isatty():
            print("reading hex, one recording per line; end with Ctrl-D", file=sys.stderr)
        yield from enumerate(_lines())
        return
    if all(_BYTE.fullmatch(argument) for argument in arguments):
        arguments = [" ".join(arguments)]  # nobody records single bytes: the quotes are missing
    yield from enumerate(arguments)


def _lines() -> Iterable[str]:
    # latin-1: what is no hex digit is reported with its place, not as a decoding error
    for line in iter(sys.stdin.buffer.readline, b""):
        yield line.decode("latin-1")


def parse_hex(text: str) -> bytes:
    """Bytes written in hex: any spacing and case; 0x, commas, colons, dashes are tolerated.

    Raises ValueError with the place (counted from 1) of what is no hex digit.
    """
    digits = _SEPARATOR.sub(lambda match: " " * len(match[0]), text)
    wrong = _NOT_HEX.search(digits.replace(" ", "0"))
    if wrong is not None:
        char = tables.printable(text[wrong.start()])
        raise ValueError(f"character {wrong.start() + 1}: '{char}' is not a hex digit")
    digits = digits.replace(" ", "")
    if len(digits) % 2:
        raise ValueError(
            f"character {len(text.rstrip())}: the last byte has only one hex digit"
            f" ({len(digits)} digits in all)"
        )
    return bytes.fromhex(digits)


def events(codec: Codec, data: bytes) -> Iterator[Event]:
    """Everything that one recording holds; its end counts as silence on the line."""
    framer = codec.framer()
    for start in range(0, len(data), _CHUNK):
        framer.receive_data(data[start : start + _CHUNK])
        yield from _drain(framer)
    framer.end_burst()
    yield from _drain(framer)


def _drain(framer: Framer) -> Iterator[Event]:
    while (event := framer.next_event()) is not None:
        yield event


@dataclass
class Decoder:
    """Decodes recordings of one protocol and prints them.

    `fruitless` counts the recordings without a good frame.
    """

    spec: ProtocolSpec
    energy_scale: int | None
    keys: Mapping[str, Any]
    as_json: bool
    recordings: int = 0
    fruitless: int = 0

    def __post_init__(self) -> None:
        self._options = {**energy_options(self.spec, self.energy_scale), **self.keys}

    def recording(self, index: int, data: bytes) -> None:
        """Decode one recording and print what is in it."""
        codec = self.spec.make_codec(**self._options)
        good, empty = 0, True
        for event in events(codec, data):
            empty = False
            if isinstance(event, DroppedBytes):
                self._drop(index, event)
            else:
                good += self._frame(index, codec, event)
        self.recordings += 1
        self.fruitless += not good
        if empty:  # bytes that the framer skips without a word, such as a meter's stray 00
            self._drop(index, DroppedBytes(DropReason.GARBAGE, data))

    def _frame(self, index: int, codec: Codec, frame: Frame) -> bool:
        try:
            message = codec.decode(frame)
        except MeterError as error:
            self._drop(index, DroppedBytes(DropReason.MALFORMED, frame.raw), str(error))
            return False
        header = {**message.header, **self._assumption(message)}
        result = list_objects(self.spec, message.objects)
        if self.as_json:
            self._print({"input": index, "frame": header, **result.as_json()})
        else:
            title = f"recording {index + 1}: {tables.fields(header)}"
            tables.print_table(title, result.columns, result.rows())
        result.warn()
        return True

    def _assumption(self, message: Message) -> dict[str, Json]:
        if message.header.get("maker") != "kamstrup":
            return {}
        scale = ASSUMED_ENERGY_SCALE if self.energy_scale is None else self.energy_scale
        return {"energy_scale": scale, "energy_scale_assumed": self.energy_scale is None}

    def _drop(self, index: int, dropped: DroppedBytes, error: str = "") -> None:
        raw = dropped.raw.hex()
        if self.as_json:
            line: dict[str, Json] = {"input": index, "dropped": str(dropped.reason), "raw": raw}
            self._print({**line, "error": error} if error else line)
        else:
            why = f"{dropped.reason}: {error}" if error else str(dropped.reason)
            tables.print_table(f"recording {index + 1}: dropped, {why}: {raw}", (), ())
            if dropped.reason in ADVICE:
                tables.print_table(ADVICE[dropped.reason], (), ())

    def _print(self, line: dict[str, Json]) -> None:
        print(decimal_json.dumps(line), flush=True)
