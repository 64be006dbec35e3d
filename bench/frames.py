"""The frames that are measured with: as printed in the documents, and variants with other values.

The values differ from frame to frame, as a meter's do; the generator of random numbers begins the
same each time. Checksums are made here, independently of the program.
"""

from __future__ import annotations

import functools
import operator
import random
import re

LIVE = bytes.fromhex(  # forum.logicmachine.net, thread 1881: the list of 10 s
    "7EA0E22B2113239AE6E7000F000000000C07E3011501172B0AFF80000002190A0E4B616D73747275705F563030303"
    "109060101000005FF0A100101010101010101010101010101010109060101600101FF0A1236383431313231424E32"
    "343331303130343009060101010700FF0600000B0809060101020700FF060000000009060101030700FF06000001D"
    "109060101040700FF0600000000090601011F0700FF060000044309060101330700FF06000002EE09060101470700"
    "FF060000022D09060101200700FF1200DC09060101340700FF1200DD09060101480700FF1200DFA98A7E"
)
HOURLY = bytes.fromhex(  # the same thread: the hourly list
    "7EA12C2B2113FC04E6E7000F000000000C07E3011D02010005FF80000002230A0E4B616D73747275705F563030303"
    "109060101000005FF0A100101010101010101010101010101010109060101600101FF0A1236383431313231424E32"
    "343331303130343009060101010700FF060000105B09060101020700FF060000000009060101030700FF060000017"
    "809060101040700FF0600000000090601011F0700FF06000005D809060101330700FF060000038A09060101470700"
    "FF060000041509060101200700FF1200DB09060101340700FF1200DB09060101480700FF1200DF09060001010000F"
    "F090C07E3011D02010005FF80000009060101010800FF0600437C9009060101020800FF0600000000090601010308"
    "00FF06000A35EE09060101040800FF0600012C8CFA257E"
)
IEC = (  # Kamstrup 382 interface specification 040611/SPH p. 3; check character: the standard's XOR
    b"/KAM 685-382-OK-15\r\n"
    b"\x020.0(00054042)\r\n1.20(0000053*kWh)\r\n1.20.1(0000033*kWh)\r\n1.20.2(0000020*kWh)\r\n"
    b"1.31(0000482*h)\r\n1.26(0000000)\r\n1.6(000018,3*kW)\r\n1.6*1(000000,0)!\r\n\x03\x12"
)
VARIANTS = 32

_VALUE = re.compile(rb"(?<=\xff)(\x06....|\x12..)(?=\x09\x06|..\x7e\Z)", re.DOTALL)
_DIGITS = re.compile(rb"(?<=[(,])\d+")
_CLOCK = slice(17, 29)
_METER_ID = bytes.fromhex("09060101000005FF0A10")


def fcs(data: bytes) -> bytes:
    """CRC-16/X-25, bit by bit, low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8408 if crc & 1 else 0)
    return (crc ^ 0xFFFF).to_bytes(2, "little")


def kmp_crc(data: bytes) -> bytes:
    """CRC-16, polynomial 1021, initial value 0, bit by bit."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return crc.to_bytes(2, "big")


def han_variants(frame: bytes, count: int = VARIANTS, meter_id: bytes | None = None) -> list[bytes]:
    """`count` frames with the same list and other numbers: each number a little larger than it
    was, as powers, currents and voltages move; the clock goes on by 10 s. No flag stands
    inside them: two of the peers take any flag for the end."""
    rng = random.Random(1)  # no secret
    if meter_id is not None:
        at = frame.index(_METER_ID) + len(_METER_ID)
        frame = frame[:at] + meter_id + frame[at + len(meter_id) :]

    def moved(match: re.Match[bytes]) -> bytes:
        tag, number = match[0][:1], match[0][1:]
        value = int.from_bytes(number, "big")
        value += rng.randrange(1 + value // 20)
        return tag + value.to_bytes(len(number), "big")

    clock = frame[_CLOCK]
    found: list[bytes] = []
    while len(found) < count:
        now = clock[:6] + bytes((len(found) // 6, len(found) % 6 * 10)) + clock[8:]
        body = _VALUE.sub(moved, frame.replace(clock, now))[1:-3]
        made = body + fcs(body)
        if b"\x7e" not in made:
            found.append(b"\x7e" + made + b"\x7e")
    return found


def kmp_answers(count: int = VARIANTS) -> list[bytes]:
    """Answers of a MULTICAL to a request for eight registers: energy, volume, flow, power, two
    temperatures, their difference, hours."""
    rng = random.Random(1)  # no secret
    # register, unit, SiEx (42: hundredths, 43: thousandths), highest value
    registers = (
        (60, 0x08, 0x43, 5_000_000),
        (68, 0x28, 0x42, 9_000_000),
        (74, 0x29, 0x00, 3_000),
        (80, 0x16, 0x41, 4_000),
        (86, 0x25, 0x42, 12_000),
        (87, 0x25, 0x42, 9_000),
        (89, 0x26, 0x42, 6_000),
        (1004, 0x2E, 0x00, 99_999),
    )
    return [
        kmp_frame(
            b"\x3f\x10"
            + b"".join(
                register.to_bytes(2, "big")
                + bytes((unit, 4, siex))
                + rng.randrange(highest).to_bytes(4, "big")
                for register, unit, siex, highest in registers
            )
        )
        for _ in range(count)
    ]


def iec_readouts(count: int = VARIANTS) -> list[bytes]:
    """Readouts of the same meter with other numbers, and the standard's XOR for a check character:
    the peer knows no other."""
    rng = random.Random(1)  # no secret
    start = IEC.index(b"\x02") + 1
    found = []
    for _ in range(count):
        block = _DIGITS.sub(
            lambda match: b"%0*d" % (len(match[0]), rng.randrange(10 ** len(match[0]))),
            IEC[start:-1],
        )
        found.append(IEC[:start] + block + bytes((functools.reduce(operator.xor, block),)))
    return found


def kmp_ascii_answers(count: int = VARIANTS) -> list[bytes]:
    """Answers to FE 90 with other numbers."""
    rng = random.Random(1)  # no secret
    found = []
    for _ in range(count):
        total = rng.randrange(10**8)
        numbers = (
            total // 100,
            0,
            rng.randrange(10**5),
            total,
            rng.randrange(20_000),
            174763648,
            0,
            0,
        )
        payload = (
            bytes.fromhex("FE90")
            + b"".join(n.to_bytes(4, "big") for n in numbers)
            + bytes.fromhex("00010938")
        )
        found.append(
            b"H" + (payload + bytes((-sum(payload) & 0xFF,))).hex().upper().encode() + b"\r"
        )
    return found


def kmp_frame(payload: bytes) -> bytes:
    """An answer with its checksum, stuffed."""
    inner = payload + kmp_crc(payload)
    special = b"\x80\x40\x0d\x06\x1b"
    stuffed = b"".join(
        bytes((0x1B, byte ^ 0xFF)) if byte in special else bytes((byte,)) for byte in inner
    )
    return b"\x40" + stuffed + b"\x0d"
