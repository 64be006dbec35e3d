"""Standard output that may be full, or whose reader may have left."""

from __future__ import annotations

from kamstrup_mqtt.core.errors import KamstrupMqttError


def put(text: str, *, flush: bool = False) -> None:
    """Print. Raises BrokenPipeError, with which `main` deals, or KamstrupMqttError."""
    try:
        print(text, flush=flush)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise KamstrupMqttError(f"standard output: {error.strerror}") from error
