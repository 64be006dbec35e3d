"""The payload of a meter's diagnostics topic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kamstrup_mqtt.core import decimal_json
from kamstrup_mqtt.core.model import Diagnosis, LinkState
from kamstrup_mqtt.core.text import sanitize
from kamstrup_mqtt.devices.device_config import DeviceConfig

COUNTERS = ("frames", "dropped", "timeouts", "echoes", "reconnects", "internal_errors", "held")
"""Always in the payload, null until a reader has reported them: Home Assistant logs a warning
about a missing key with every message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostics:
    """What a reader has reported about itself, as it is published.

    `learned` and `unsupported` are known from the last run before the first report.
    """

    link_state: LinkState | None = None
    last_error: str | None = None
    problem: str | None = None
    notes: tuple[str, ...] = ()
    counters: Mapping[str, int] = field(default_factory=dict)
    held_back: Mapping[str, str] = field(default_factory=dict)
    learned: Mapping[str, str] = field(default_factory=dict)
    unsupported: tuple[str, ...] = ()

    @classmethod
    def of(cls, report: Diagnosis) -> Diagnostics:
        """Return what a report says, with texts that can be published."""
        return cls(
            link_state=report.link_state,
            last_error=None if report.last_error is None else sanitize(report.last_error),
            problem=None if report.problem is None else sanitize(report.problem),
            notes=report.notes,
            counters=report.counters,
            held_back=dict(report.held_back),
            learned=dict(report.learned),
            unsupported=report.unsupported,
        )


def diagnostics_json(
    config: DeviceConfig,
    diagnostics: Diagnostics,
    *,
    last_reading: str | None,
    serial: str | None,
    details: Mapping[str, str],
) -> str:
    """Return the payload (docs/quantities.md, Diagnostics)."""
    polled = ("requests_per_day",) if config.is_polled else ()
    return decimal_json.dumps(
        {
            "link_state": diagnostics.link_state and diagnostics.link_state.value,
            "last_reading": last_reading,
            "last_error": diagnostics.last_error,
            **dict.fromkeys((*COUNTERS, *polled)),
            **diagnostics.counters,
            "serial": serial,
            "model": config.model_id,
            "protocol": config.plan.protocol,
            "details": details,
            "learned": diagnostics.learned,
            "held_back": diagnostics.held_back,
            "unsupported": list(diagnostics.unsupported),
            "problem": diagnostics.problem,
            "notes": list(diagnostics.notes),
        }
    )
