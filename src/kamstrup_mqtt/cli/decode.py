"""`kamstrup-mqtt decode`: decode recorded requests and responses into tables or JSON."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kamstrup_mqtt.cli import DONE, FAILED, USAGE, tables
from kamstrup_mqtt.cli.options import (
    ASSUMED_ENERGY_SCALE,
    add_key_arguments,
    add_protocol_arguments,
    energy_options,
    find_protocol,
    key_options,
    parser_options,
)
from kamstrup_mqtt.cli.value_listing import COLUMNS, list_values
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
from kamstrup_mqtt.reading.commissioning.drop_advice import DROP_ADVICE

_CHUNK = 1024
"""Bytes to feed to a framer at a time: its buffer is bounded, a recording is not."""

_SEPARATOR = re.compile(r"0[xX](?=[0-9A-Fa-f]{2})|[\s,:;-]+")
_BYTE = re.compile(r"(?:0[xX])?[0-9A-Fa-f]{2}[,:;]?")
_NOT_HEX = re.compile(r"[^0-9A-Fa-f]")


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "decode",
        help="decode recorded bytes",
        description="Decode recorded bytes: requests and responses. Exit code: 0 every recording"
        " contained a valid frame (other bytes are shown as dropped), 1 one contained none, 2 not"
        " hex.",
    )
    add_protocol_arguments(parser)
    add_key_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object per frame")
    parser.add_argument(
        "hex",
        nargs="*",
        metavar="HEX",
        help="a recording, with any spacing and in upper or lower case; each argument is one"
        " recording, except that arguments of single bytes form one together; default: each line of"
        " standard input",
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Decode each recording; see `add_parser` for the exit codes."""
    spec = find_protocol(args.protocol)
    decoder = Decoder(spec, args.energy_scale, as_json=args.json, keys=key_options(spec, args))
    is_invalid = False
    for index, text in _recordings(args.hex):
        place = f"argument {index + 1}" if args.hex else f"line {index + 1}"
        try:
            data = parse_hex(text)
        except ValueError as error:
            print(f"{place}: {error}", file=sys.stderr)
            is_invalid = True
            continue
        if data or args.hex:
            decoder.decode(index, data)
    if is_invalid:
        return USAGE
    if not decoder.recordings:
        print("nothing to decode: give hex as arguments or on standard input", file=sys.stderr)
        return FAILED
    return FAILED if decoder.failures else DONE


def _recordings(arguments: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the recordings with their index; lines of standard input as they arrive."""
    if not arguments:
        if sys.stdin.isatty():
            print("reading hex, one recording per line; stop with Ctrl-D", file=sys.stderr)
        yield from enumerate(_lines())
        return
    if all(_BYTE.fullmatch(argument) for argument in arguments):
        arguments = [" ".join(arguments)]  # one recording without quotes
    yield from enumerate(arguments)


def _lines() -> Iterable[str]:
    # latin-1 cannot fail: other characters than hex digits are reported with their position
    for line in iter(sys.stdin.buffer.readline, b""):
        yield line.decode("latin-1")


def parse_hex(text: str) -> bytes:
    """Parse hex in upper or lower case, with spaces, commas, colons, dashes or 0x between bytes.

    Raises ValueError with the position, counted from 1, of a character that is no hex digit.
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
    """Yield all frames and drops of a recording; its end counts as silence on the line."""
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

    recordings  recordings decoded so far
    failures    those without a valid frame
    """

    spec: ProtocolSpec
    energy_scale: int | None
    keys: Mapping[str, Any]
    as_json: bool
    recordings: int = 0
    failures: int = 0

    def __post_init__(self) -> None:
        self._options = {
            **energy_options(self.spec, self.energy_scale),
            **self.keys,
            **parser_options(),
        }

    def decode(self, index: int, data: bytes) -> None:
        """Decode one recording and print its contents."""
        codec = self.spec.make_codec(**self._options)
        valid_frames, is_empty = 0, True
        for event in events(codec, data):
            is_empty = False
            if isinstance(event, DroppedBytes):
                self._drop(index, event)
            else:
                valid_frames += self._frame(index, codec, event)
        self.recordings += 1
        self.failures += not valid_frames
        if is_empty:  # only bytes that the framer skips silently, such as stray 00
            self._drop(index, DroppedBytes(DropReason.GARBAGE, data))

    def _frame(self, index: int, codec: Codec, frame: Frame) -> bool:
        try:
            message = codec.decode(frame)
        except MeterError as error:
            self._drop(index, DroppedBytes(DropReason.MALFORMED, frame.raw), str(error))
            return False
        header = {**message.header, **self._assumption(message)}
        listing = list_values(self.spec, message.objects)
        if self.as_json:
            self._print({"input": index, "frame": header, **listing.as_json()})
        else:
            title = f"recording {index + 1}: {tables.fields(header)}"
            tables.print_table(title, COLUMNS, listing.rows())
        listing.print_rejected()
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
            if dropped.reason in DROP_ADVICE:
                tables.print_table(DROP_ADVICE[dropped.reason], (), ())

    def _print(self, line: dict[str, Json]) -> None:
        print(decimal_json.dumps(line), flush=True)
