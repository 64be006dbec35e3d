"""Topic names and ids, typed from docs/topics.md."""

from __future__ import annotations

import pytest

from kamstrup_mqtt.core.topics import Topics, slug, to_id_part


def test_topics() -> None:
    topics = Topics("home/meters", "cellar")
    assert topics.root == "home/meters/cellar"
    assert topics.bridge_status == "home/meters/cellar/bridge/status"
    assert topics.bridge_info == "home/meters/cellar/bridge/info"
    assert topics.status("heat") == "home/meters/cellar/heat/status"
    assert topics.state("heat", "values") == "home/meters/cellar/heat/state/values"
    assert topics.diagnostics("heat") == "home/meters/cellar/heat/diagnostics"
    assert topics.read("heat") == "home/meters/cellar/heat/read"
    assert topics.client_id == "kamstrup-mqtt-home-meters-cellar"
    assert topics.discovery("homeassistant", "heat") == (
        "homeassistant/device/kamstrup_cellar_heat/config"
    )


def test_defaults() -> None:
    assert Topics().root == "kamstrup/main"
    assert Topics().client_id == "kamstrup-mqtt-kamstrup-main"


@pytest.mark.parametrize(
    ("text", "id_"),
    [
        ("Fjernvarme i kælder", "fjernvarme_i_kaelder"),
        ("Måler Ærø", "maler_aero"),
        ("Zähler Straße 5", "zahler_strasse_5"),
        ("  -x- ", "x"),
        ("a/b+c#d", "a_b_c_d"),
        ("x" * 40, "x" * 32),
        ("y" * 31 + " z", "y" * 31),
        ("水", ""),
    ],
)
def test_slug(text: str, id_: str) -> None:
    assert slug(text) == id_


@pytest.mark.parametrize(
    ("text", "part"),
    [("0012-Ab_3", "0012-Ab_3"), ("5706 5671/1", "5706_5671_1"), ("\x00\n", ""), ("é", "")],
)
def test_id_part(text: str, part: str) -> None:
    assert to_id_part(text) == part
