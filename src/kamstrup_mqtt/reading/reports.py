"""The three reporters of one meter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from kamstrup_mqtt.reading.context import ReaderContext
from kamstrup_mqtt.reading.identity_tracker import IdentityTracker
from kamstrup_mqtt.reading.link_status import LinkStatus
from kamstrup_mqtt.reading.reading_reporter import ReadingReporter


class MeterReports(NamedTuple):
    """Reporters of readings, identity and link status."""

    readings: ReadingReporter
    identity: IdentityTracker
    status: LinkStatus


def make_reports(
    context: ReaderContext, inputs: Iterable[str], on_replaced: Callable[[], None]
) -> MeterReports:
    """Make the reporters of one meter.

    `inputs`: keys that values are derived from or counted on; `on_replaced` is called when another
    meter answers.
    """
    readings = ReadingReporter(context, inputs)

    def replace_meter() -> None:
        readings.replace_meter()
        on_replaced()

    return MeterReports(
        readings,
        IdentityTracker(context, replace_meter),
        LinkStatus(context, readings.held_back),
    )
