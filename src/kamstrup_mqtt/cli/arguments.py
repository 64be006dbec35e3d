"""Types of command-line arguments. Their error messages say what to write."""

from __future__ import annotations

import argparse
import math


def seconds(text: str) -> float:
    """A number of seconds, 0 or more."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number of seconds, such as 1.5")
    return value


def positive_seconds(text: str) -> float:
    """A number of seconds, more than 0."""
    value = seconds(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: give more than 0 seconds")
    return value


def minutes(text: str) -> float:
    """A number of minutes, 0 or more."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number of minutes, such as 1.5")
    return value


def positive_minutes(text: str) -> float:
    """A number of minutes, more than 0."""
    value = minutes(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: give more than 0 minutes")
    return value


def baudrate(text: str) -> int:
    """A speed in baud."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: give a speed in baud, such as 1200")
    return int(text)


def tcp_port(text: str) -> int:
    """A TCP port, 0 for a free one."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: give a TCP port, 0 to 65535")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
