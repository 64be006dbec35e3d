"""Printing to standard output that may be full, or whose reader may be gone."""

from __future__ import annotations

from kamstrup_mqtt.core.errors import KamstrupMqttError


def put(text: str, *, flush: bool = False) -> None:
    """Print a line.

    Raises BrokenPipeError, which `main` handles, if the reader is gone, and KamstrupMqttError if
    the text cannot be written for another reason.
    """
    try:
        print(text, flush=flush)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise KamstrupMqttError(f"standard output: {error.strerror}") from error
