"""The parity of a line: both are tried in turn until frames come."""

from __future__ import annotations

import dataclasses

from kamstrup_mqtt.core.model import LinkState, SerialParams
from kamstrup_mqtt.reading.parity_detector import ParityDetector

LINE = SerialParams(2400, 8, "N", 1)
FAULT = (LinkState.BYTES_NO_FRAMES, "bytes come")


def test_the_parity_is_switched_after_a_time_without_frames() -> None:
    hunt = ParityDetector(LINE, None, enabled=True)
    assert not hunt.is_due(100.0, 60.0, None)
    assert not hunt.is_due(110.0, 60.0, FAULT)
    assert not hunt.is_due(169.0, 60.0, FAULT)
    assert not hunt.is_due(169.5, 60.0, None)  # a list came
    assert not hunt.is_due(170.0, 60.0, FAULT)
    assert not hunt.is_due(171.0, 60.0, (LinkState.WRONG_KEY, "its parity is right"))
    assert not hunt.is_due(172.0, 60.0, FAULT)
    assert hunt.is_due(232.0, 60.0, FAULT)
    assert hunt.switch().parity == "E"
    assert not hunt.is_due(233.0, 60.0, FAULT)
    assert hunt.switch().parity == "N"


def test_the_learned_parity_is_tried_first() -> None:
    even = dataclasses.replace(LINE, parity="E")
    assert ParityDetector(LINE, "E", enabled=True).params == even
    assert ParityDetector(even, "N", enabled=True).params == LINE
    assert ParityDetector(LINE, "E", enabled=False).params == LINE
    assert not ParityDetector(LINE, None, enabled=False).is_due(1e9, 1.0, FAULT)
