"""`kamstrup-mqtt health`: the line that it prints for a meter."""

import pytest

from kamstrup_mqtt.cli.health import _meter


@pytest.mark.parametrize(
    ("link_state", "said"),
    [
        ("ok", "online, ok, last reading 12:00, last error: no such port"),
        ("port_missing", "online, port_missing, last reading 12:00, no such port"),
    ],
)
def test_an_error_in_the_past_is_marked_as_the_last_one(link_state: str, said: str) -> None:
    meter = {
        "online": True,
        "link_state": link_state,
        "last_reading": "12:00",
        "last_error": "no such port",
    }
    assert _meter(meter) == said
