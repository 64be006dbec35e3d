"""A configuration without secrets, for sharing."""

from __future__ import annotations

import json
from pathlib import Path

from kamstrup_mqtt.config import loader
from kamstrup_mqtt.config.redaction import Redaction

FILE = """
mqtt:
  host: broker.attic.lan
  username: kamstrup
  password_file: secret.txt
  base: ${BASE}
  tls: {key_password: "${KEY_PASSWORD}", cert_file: cert.pem}
meters:
  - name: Heat in the ${ROOM}
    id: heat
    protocol: kmp
    model: multical_403
    port: tcp://10.1.2.3:2002
  - name: Main
    protocol: han
    port: tcp://broker.attic.lan:2003
    encryption_key: 000102030405060708090a0b0c0d0e0f
    authentication_key_file: key.txt
  - name: Local
    protocol: kmp
    model: multical_21
    port: tcp://127.0.0.1:2004
"""
SECRETS = (
    "from-a-file-8f3a",
    "from-the-environment-2b",
    "000102030405060708090a0b0c0d0e0f",
    "0f" * 16,
    "0F" * 16,
    "broker.attic",
    "10.1.2.3",
    "cellar",
)


def redaction(tmp_path: Path) -> Redaction:
    (tmp_path / "secret.txt").write_text("from-a-file-8f3a\n")
    (tmp_path / "key.txt").write_text("0F" * 16 + "\n")
    (tmp_path / "cert.pem").write_text("certificate")
    file = tmp_path / "config.yaml"
    file.write_text(FILE)
    environ = {"KEY_PASSWORD": "from-the-environment-2b", "ROOM": "cellar", "BASE": "kamstrup/a"}
    return Redaction(loader.load(file, environ))


def test_the_configuration(tmp_path: Path) -> None:
    shown = redaction(tmp_path).config()
    text = json.dumps(shown)
    for secret in SECRETS:
        assert secret not in text
    mqtt = shown["mqtt"]
    assert (mqtt["host"], mqtt["username"], mqtt["password"]) == ("host-1", "********", "********")
    assert mqtt["base"] == "${BASE}"
    heat, main, local = shown["meters"]
    assert heat["name"] == "Heat in the ${ROOM}"
    assert heat["model"] == "multical_403"
    assert main["encryption_key"] == main["authentication_key"] == "********"
    # equal hosts stay equal, this machine is no secret
    assert (heat["port"], main["port"]) == ("tcp://host-2:2002", "tcp://host-1:2003")
    assert local["port"] == "tcp://127.0.0.1:2004"
    assert [meter["id"] for meter in (main, local)] == ["main", "local"]


def test_text_from_the_environment_inside_a_word(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    meter = '{name: "The${ROOM}Meter", protocol: han, port: "/dev/tty${ROOM}"}'
    file.write_text(f"meters: [{meter}]\n")
    shown = Redaction(loader.load(file, {"ROOM": "cellar"}))
    (found,) = shown.config()["meters"]
    assert (found["name"], found["port"]) == ("The${ROOM}Meter", "/dev/tty${ROOM}")
    assert shown.text("/dev/ttycellar is gone") == "/dev/tty${ROOM} is gone"


def test_messages(tmp_path: Path) -> None:
    mask = redaction(tmp_path).text
    told = mask("tcp://10.1.2.3:2002: refused; broker.attic.lan:1883 says kamstrup, kamstrup-mqtt")
    assert told == "tcp://host-2:2002: refused; host-1:1883 says ********, kamstrup-mqtt"
    assert mask("xfrom-a-file-8f3ax") == "x********x"
    assert mask(r"\1 of the cellar") == r"\1 of the ${ROOM}"
    assert redaction(tmp_path).tree({"a": ["cellar", 3, None, {"b": True}]}) == {
        "a": ["${ROOM}", 3, None, {"b": True}]
    }


def test_short_texts_are_not_masked(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    meter = "{name: A, protocol: han, port: /dev/ttyS0}"
    file.write_text(f"mqtt: {{username: a, password: ab}}\nmeters: [{meter}]\n")
    shown = Redaction(loader.load(file, {}))
    assert shown.text("a cab") == "a cab"
    assert shown.config()["mqtt"] == {"username": "********", "password": "********"}
