"""Switches that are environment variables, because they are for diagnosis and not for users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

REFERENCE_PARSER: Final = "KAMSTRUP_MQTT_REFERENCE_PARSER"


def uses_fast_path(environ: Mapping[str, str]) -> bool:
    """Whether codecs decode by templates where possible (docs/fast-path.md).

    False if REFERENCE_PARSER is set to anything but 0.
    """
    return environ.get(REFERENCE_PARSER, "0") in ("", "0")
