"""The configuration file: errors with line and column, secrets, and pitfalls of YAML."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kamstrup_mqtt.config import Config
from kamstrup_mqtt.config.loader import load
from kamstrup_mqtt.core.errors import ConfigError

METER = "meters:\n  - {name: Heat, protocol: kmp, model: multical_403, port: tcp://h:1}\n"

Faults = Callable[..., list[str]]
Load = Callable[..., Config]


@pytest.fixture
def written(tmp_path: Path) -> Load:
    """Loads a configuration with this text."""

    def load_text(text: str, environ: Mapping[str, str] | None = None) -> Config:
        path = tmp_path / "c.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path, environ or {})

    return load_text


@pytest.fixture
def faults(written: Load, tmp_path: Path) -> Faults:
    """The faults of this text, without the folder's name."""

    def find(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            written(text, environ)
        return [fault.replace(f"{tmp_path}/", "") for fault in caught.value.faults]

    return find


def test_han_meters_do_not_load_options_of_polled_meters(
    tmp_path: Path,
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("meters: [{name: Power, protocol: han, port: tcp://h:1}]\n", encoding="utf-8")
    code = (
        "import sys, kamstrup_mqtt.daemon.app\n"
        "from kamstrup_mqtt.config.loader import load\n"
        f"load({str(path)!r}, {{}})\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "kamstrup_mqtt.config.protocols.han" in loaded
    assert {
        "kamstrup_mqtt.config.polled",
        "kamstrup_mqtt.config.protocols.kmp",
        "kamstrup_mqtt.config.error_messages",
    }.isdisjoint(loaded)


def one(found: list[str]) -> str:
    assert len(found) == 1, found
    return found[0]


# The file


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; start with a copy"):
        load(tmp_path / "none.yaml", {})


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a directory"):
        load(tmp_path, {})


@pytest.mark.parametrize(
    ("error", "words"),
    [(PermissionError(13, "no"), "permission denied"), (OSError(5, "bad disk"), "bad disk")],
)
def test_unreadable(monkeypatch: pytest.MonkeyPatch, error: OSError, words: str) -> None:
    def refuse(_: Path) -> bytes:
        raise error

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigError, match=words):
        load("c.yaml", {})


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"meters:\n  - name: K\xe6lder\n")
    with pytest.raises(ConfigError, match=r"c.yaml:2:12: is not UTF-8"):
        load(path, {})


def test_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + METER.encode())
    assert load(path, {}).meters[0].name == "Heat"


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n"])
def test_empty(faults: Faults, text: str) -> None:
    assert one(faults(text)).startswith("c.yaml:1:1: is empty; start with")


def test_control_character(faults: Faults) -> None:
    assert one(faults("a: b\nc: \x07\n")) == "c.yaml:2:4: a control character; remove it"


def test_tab(faults: Faults) -> None:
    text = "meters:\n\t- name: x\n"
    assert one(faults(text)) == "c.yaml:2:1: not YAML: a tab; YAML is indented with spaces"


def test_syntax_fault_comes_alone(faults: Faults) -> None:
    found = one(faults("mqtt:\n  hots: x\nmeters: [\n"))
    assert found.startswith("c.yaml:4:1: not YAML: ")


def test_two_documents(faults: Faults) -> None:
    assert "not YAML" in one(faults("a: 1\n---\nb: 2\n"))


def test_nested_too_deep(faults: Faults) -> None:
    assert "nested too deep" in one(faults("[" * 2_000))


@pytest.mark.parametrize("text", ["just words\n", "- a\n- b\n"])
def test_document_must_be_a_mapping(faults: Faults, text: str) -> None:
    assert "must be a mapping" in one(faults(text))


def test_secret_beside_a_syntax_fault_is_not_shown(faults: Faults) -> None:
    assert "geheim" not in one(faults("mqtt:\n  password: geheim: geheim\n"))


def test_unquoted_variable_in_a_flow_mapping(faults: Faults) -> None:
    assert "quote a text that contains ${...}" in one(faults("a: {b: ${X}}\n"))


# YAML's traps


@pytest.mark.parametrize("word", ["on", "off", "Yes", "no", "TRUE"])
def test_boolean_instead_of_text(faults: Faults, word: str) -> None:
    found = faults(METER + f"mqtt:\n  username: {word}\n")
    assert found == [
        f"c.yaml:4:13: mqtt.username: YAML reads {word} as true or false; quote it: '{word}'"
    ]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("012", "10"),
        ("1:30", "90"),
        ("1_000", "1000"),
        ("+5", "5"),
        ("0b11", "3"),
        ("1:30.5", "90.5"),
    ],
)
def test_number_that_yaml_converts(faults: Faults, text: str, number: str) -> None:
    found = faults(METER + f"mqtt:\n  username: {text}\n")
    assert found == [
        f"c.yaml:4:13: mqtt.username: YAML reads {text} as the number {number}; quote it: '{text}'"
    ]


def test_misread_password_is_not_shown(faults: Faults) -> None:
    found = faults(METER + "mqtt:\n  password: 0123\n")
    assert found == ["c.yaml:4:13: mqtt.password: YAML takes it for another number; quote it"]


@pytest.mark.parametrize("text", ["123", "1.50", "'012'", '"on"', "0x10"])
def test_numbers_as_written_are_text(written: Load, text: str) -> None:
    config = written(METER + f"mqtt:\n  username: {text}\n  password: {text}\n")
    assert config.mqtt.username == text.strip("'\"")
    assert config.mqtt.password is not None
    assert config.mqtt.password.get_secret_value() == text.strip("'\"")


def test_date_is_text(written: Load) -> None:
    assert written(METER + "mqtt: {username: 2025-01-02}\n").mqtt.username == "2025-01-02"


def test_empty_text(faults: Faults) -> None:
    found = faults(
        "meters:\n  - name:\n    protocol: kmp\n    model: multical_403\n    port: /dev/x\n"
    )
    assert found == ["c.yaml:2:10: meters[0].name: is empty; give a text, or leave it out"]


def test_duplicate_key(faults: Faults) -> None:
    found = faults(METER + "mqtt:\n  host: a\n  host: b\n")
    assert found == ["c.yaml:5:3: mqtt.host: is given twice, first in line 4; remove one"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mqtt: {host: !secret x}\n", "unknown tag !secret"),
        ("mqtt: {[a]: b}\n", "a key must be a word"),
        ("mqtt: {<<: {host: a}}\n", "merging (<<) is not supported"),
        ("mqtt: &a {host: *a}\n", "contains itself"),
        ("mqtt: {host: !!binary aGk=}\n", "unknown tag !!binary"),
    ],
)
def test_unsupported_yaml_features(faults: Faults, text: str, words: str) -> None:
    assert words in faults(METER + text)[0]


@pytest.mark.parametrize(
    "text",
    [
        "mqtt:\n  password:\n    *hunter2\n",
        "mqtt:\n  password:\n    !hunter2!x y\n",
        "mqtt:\n  username: &hunter2 a\n  password:\n    &hunter2 b\n",
        "meters:\n  - encryption_key: *hunter2\n",
        "meters:\n  - name: A\n    authentication_key: !hunter2!x y\n",
    ],
)
def test_invalid_yaml_in_a_secret_is_not_shown(faults: Faults, text: str) -> None:
    fault = one(faults(text))
    assert "quote a text that starts with *, & or !" in fault
    assert "hunter2" not in fault


def test_anchor_may_be_used_twice(written: Load) -> None:
    text = (
        "meters:\n"
        "  - {name: a, protocol: kmp, model: multical_403, port: tcp://h:1, values: &v [power]}\n"
        "  - {name: b, protocol: kmp, model: multical_403, port: tcp://h:2, values: *v}\n"
    )
    assert [meter.plan().values[0].quantity.key for meter in written(text).meters] == ["power"] * 2


# Environment and secrets


def test_environment(written: Load) -> None:
    config = written(
        METER + "mqtt:\n  host: ${H}.lan\n  port: ${P}\n  username: a$${b}$c\n",
        {"H": "broker", "P": "1884"},
    )
    assert (config.mqtt.host, config.mqtt.port) == ("broker.lan", 1884)
    assert config.mqtt.username == "a${b}$c"


def test_variable_that_is_not_set(faults: Faults) -> None:
    found = faults(METER + "mqtt:\n  password: ${MQTT_PASSWORD}\n")
    assert found == [
        "c.yaml:4:13: mqtt.password: the environment variable MQTT_PASSWORD is not set"
    ]


def test_malformed_variable(faults: Faults) -> None:
    assert "write ${NAME}" in one(faults(METER + "mqtt:\n  host: ${a b}\n"))


def test_text_from_the_environment_is_not_shown(faults: Faults) -> None:
    text = "meters:\n  - name: a\n    protocol: kmp\n    model: multical_403\n    port: ${PW}\n"
    found = one(faults(text, {"PW": "geheim"}))
    assert "geheim" not in found
    assert "c.yaml:5:11: meters[0].port: '${PW}' is not a port" in found


def test_repr_contains_no_secrets(written: Load) -> None:
    config = written(METER + "mqtt: {password: geheim}\n")
    assert "geheim" not in repr(config) + str(config) + config.model_dump_json()
    assert config.secrets() == ("geheim",)


@pytest.mark.parametrize(
    "password",
    ["[geheim]", "{geheim: 1}", "true", "geheim\n  port: x", "geheim\n  pasword: geheim"],
)
def test_messages_contain_no_secrets(faults: Faults, password: str) -> None:
    found = faults(METER + f"mqtt:\n  password: {password}\n")
    assert found
    assert "geheim" not in "\n".join(found)


def test_password_file_beside_the_configuration(written: Load, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("geheim\n")
    assert written(METER + "mqtt: {password_file: pw}\n").secrets() == ("geheim",)


def test_credentials_take_precedence(written: Load, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (tmp_path / "pw").write_text("beside")
    (credentials / "pw").write_text("credential")
    (credentials / "mqtt_password").write_text("unnamed")
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert written(METER + "mqtt: {password_file: pw}\n", environ).secrets() == ("credential",)
    assert written(METER, environ).secrets() == ("unnamed",)
    assert written(METER + "mqtt:\n", environ).secrets() == ("unnamed",)
    assert written(METER + "mqtt: {password: p}\n", environ).secrets() == ("p",)


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"", "one line"),
        (b"a\nb\n", "one line"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_bad_password_file(
    faults: Faults, tmp_path: Path, contents: bytes | None, words: str
) -> None:
    if contents is not None:
        (tmp_path / "pw").write_bytes(contents)
    found = one(faults(METER + "mqtt:\n  password_file: pw\n"))
    assert found.startswith("c.yaml:4:18: mqtt.password_file: ")
    assert words in found


def test_password_and_file(faults: Faults) -> None:
    found = one(faults(METER + "mqtt:\n  password: a\n  password_file: b\n"))
    assert found == "c.yaml:5:18: mqtt.password_file: means the same as password; remove one"


def test_password_file_must_be_text(faults: Faults) -> None:
    assert "must be text" in one(faults(METER + "mqtt:\n  password_file: [a]\n"))


# Places


def test_all_errors_are_reported_at_once(faults: Faults) -> None:
    text = """\
mqtt:
  hots: a
  version: 3.1
  port: 99999
  keepalive: soon
  commands: maybe
  base: a/+/b
  tls: {key_file: none.pem, foo: 1}
homeassistant:
  minimum: 2024.10
meters:
  - name: Heat
    protocol: kmp
    model: multical_43
    port: ttyUSB0
  - name: Two
    protocol: kmp
    port: rfc2217://h:1
  - name: Three
    protocol: kmp
    model: multical_403
    port: tcp://x:1
    values:
      - heat_enery
      - power: {unit: kWh}
      - temp_diff:
          precision: -1
      - flow: {device_class: foo}
      - [a]
"""
    found = faults(text)
    expected = [
        ("2:3", "mqtt.hots: unknown key; did you mean host? allowed: base,"),
        ("3:12", "mqtt.version: allowed: '3.1.1', '5'"),
        ("4:9", "mqtt.port: must be at most 65535"),
        ("5:14", "mqtt.keepalive: must be a whole number"),
        ("6:13", "mqtt.commands: must be true or false"),
        ("7:9", "mqtt.base: must be a topic without +"),
        ("8:19", "mqtt.tls.key_file: no such file: "),
        ("8:29", "mqtt.tls.foo: unknown key; allowed: ca_file,"),
        ("10:12", "homeassistant.minimum: must be 2024.11 or later"),
        ("14:12", "meters[0].model: no such model: multical_43; did you mean multical_4"),
        ("15:11", "meters[0].port: 'ttyUSB0' is not a port"),
        ("16:5", "meters[1].model: is missing; allowed: "),
        ("18:11", "meters[1].port: rfc2217:// is not supported"),
        ("29:9", "meters[2].values[4]: must be the key of a value"),
    ]
    assert len(found) == len(expected), found
    for fault, (place, words) in zip(found, expected, strict=True):
        assert fault.startswith(f"c.yaml:{place}: {words}"), fault


def test_errors_in_values(faults: Faults) -> None:
    text = """\
meters:
  - name: Three
    protocol: kmp
    model: multical_403
    port: tcp://x:1
    values:
      - heat_enery
      - power: {unit: kWh}
      - temp_diff:
          precision: -1
      - flow: {device_class: foo}
      - {key: volume, state_class: measurement}
      - volume
    custom:
      - register: sixty
        name: a
      - name: b
      - {register: 60, command: 61, name: c}
      - {register: 60, name: d, icon: fire}
"""
    found = faults(text)
    expected = [
        ("7:9", "meters[0].values[0]: no such value: heat_enery; did you mean heat_energy? "),
        (
            "8:23",
            "meters[0].values[1].unit: kWh does not go with device class power; allowed:",
        ),
        ("10:22", "meters[0].values[2].precision: must be at least 0"),
        ("11:30", "meters[0].values[3].device_class: no such device class: foo; allowed: "),
        ("12:36", "meters[0].values[4].state_class: measurement does not go with device class"),
        ("13:9", "meters[0].values[5]: volume is listed twice"),
        ("15:19", "meters[0].custom[0].register: "),
        ("17:9", "meters[0].custom[1].source: is missing; give the register"),
        ("18:33", "meters[0].custom[2].command: means the same as register; remove one"),
        ("19:39", "meters[0].custom[3].icon: is not an icon; write mdi:fire"),
    ]
    assert len(found) == len(expected), found
    for fault, (place, words) in zip(found, expected, strict=True):
        assert fault.startswith(f"c.yaml:{place}: {words}"), fault


def test_values_as_one_mapping(faults: Faults) -> None:
    text = METER.replace("tcp://h:1", "tcp://h:1, values: {power: {unit: kWh}, pwr: , flow: 3}")
    found = faults(text)
    assert [fault.split(":")[3] for fault in found] == [" meters[0].values.flow"]
    found = faults(text.replace(", flow: 3", ""))
    assert [fault.split(":")[3] for fault in found] == [
        " meters[0].values.power.unit",
        " meters[0].values.pwr",
    ]


@pytest.mark.parametrize(
    ("meter", "fault"),
    [
        ("{name: a}", "2:5: meters[0].protocol: is missing; allowed: han, iec62056-21, kmp,"),
        (
            "{name: a, protocol: kpm}",
            "2:25: meters[0].protocol: no such protocol; did you mean kmp?",
        ),
        ("words", "2:5: meters[0]: must be a mapping"),
        (
            "{name: a, protocol: han, port: /dev/x, energy_scale: 100}",
            "2:58: meters[0].energy_scale: allowed: 10, 1, 'auto'",
        ),
        (
            "{name: a, protocol: han, port: /dev/x, encryption_key: '0011'}",
            "2:60: meters[0].encryption_key: must be 32 hex digits in quotes",
        ),
        (
            "{name: a, protocol: han, port: /dev/x, energy_scale: 10, interval: 5}",
            "2:62: meters[0].interval: is not allowed with protocol han: the meter sends without",
        ),
        ("{name: a, protocol: iec62056-21}", "2:5: meters[0].port: is missing; give /dev/serial"),
        ("{protocol: kmp-ascii, port: /dev/x}", "2:5: meters[0].name: is missing"),
        (
            "{name: a, protocol: kmp-ascii, port: /dev/x, bytesize: 9}",
            "2:60: meters[0].bytesize: allowed: 7, 8",
        ),
        (
            "{name: a, protocol: kmp-ascii, port: /dev/x, interval: 1, update_interval: 2}",
            "2:80: meters[0].update_interval: means the same as interval; remove one",
        ),
        (
            "{name: a, protocol: kmp-ascii, port: /dev/x, timing: {trys: 2}}",
            "2:59: meters[0].timing.trys: unknown key; did you mean tries?",
        ),
    ],
)
def test_errors_in_meters(faults: Faults, meter: str, fault: str) -> None:
    found = one(faults(f"meters:\n  - {meter}\n"))
    assert found.startswith(f"c.yaml:{fault}")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("mqtt: {}\n", "1:1: meters: is missing; list at least one meter"),
        ("meters: []\n", "1:9: meters: list at least one meter"),
        ("meters: {a: b}\n", "1:9: meters: must be a list: lines that start with -"),
    ],
)
def test_no_meters(faults: Faults, text: str, fault: str) -> None:
    assert one(faults(text)) == f"c.yaml:{fault}"


@pytest.mark.parametrize(
    "meter",
    [
        "{name: a}",
        "5",
        "null",
        "{name: a, protocol: kmp, model: multical_4, port: /dev/x}",
        "{name: a, protocol: kmp, model: kmp_meter, port: /dev/x}",
        "{name: a, protocol: kmp, model: multical_403, port: /dev/x, values: [x]}",
        "{name: a, protocol: han, port: /dev/x, energy_scale: 2}",
    ],
)
def test_invalid_meters_count_as_meters(faults: Faults, meter: str) -> None:
    found = faults(f"meters:\n  - {meter}\n  - {meter}\n")
    assert found
    assert not [fault for fault in found if "at least one meter" in fault]


def test_name_that_is_too_long(faults: Faults) -> None:
    text = f"meters: [{{name: {'a' * 101}, protocol: kmp, model: multical_403, port: /dev/x}}]\n"
    assert one(faults(text)) == "c.yaml:1:17: meters[0].name: must be at most 100 characters"


SECRET = "geheim123"


@pytest.mark.parametrize(
    "written_as",
    [
        f"*{SECRET}",
        f"!{SECRET}",
        f"!{SECRET} x",
        f"!!{SECRET} x",
        f"!a!{SECRET}",
        f"@{SECRET}",
        f'"{SECRET}\\m"',
        f"[{SECRET}]",
        f"{{{SECRET}: 1}}",
        f"!!int {SECRET}",
        f'"{SECRET}\\0"',
        f"{SECRET}, password: {SECRET}",
    ],
)
def test_passwords_with_yaml_syntax_are_not_shown(faults: Faults, written_as: str) -> None:
    meter = "{name: a, protocol: kmp, model: multical_403, port: /dev/x}"
    for mqtt in (f"{{password: {written_as}}}", f"\n  password: {written_as}"):
        found = faults(f"mqtt: {mqtt}\nmeters: [{meter}, 5]\n")
        assert not [fault for fault in found if SECRET in fault]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("!!float abc", "port: is not a number that can be read"),
        ("9" * 5000, "port: is not a number that can be read"),
        ('"\\0"', "port: contains a character that is not allowed in text"),
        ('"\\ud800"', "port: contains a character that is not allowed in text"),
    ],
)
def test_unreadable_numbers_and_characters(faults: Faults, value: str, fault: str) -> None:
    text = f"mqtt: {{port: {value}}}\nmeters: [{{name: a, protocol: kmp-ascii, port: /dev/x}}]\n"
    assert f"c.yaml:1:14: mqtt.{fault}" in faults(text)[0]


@pytest.mark.parametrize("option", ["password_file", "tls: {ca_file"])
def test_home_directory_of_an_unknown_user(faults: Faults, option: str) -> None:
    close = "}" * option.count("{")
    text = f"mqtt: {{{option}: ~no-such-user/x{close}}}\nmeters: [5]\n"
    assert (
        "begins with the home directory of a user who has none; write the whole path"
        in faults(text)[0]
    )


_YAML_WORDS = (
    "kmp han multical_403 e685_382 kmp_meter tcp://h:1 tcp://[::1]:2 tcp://[ /dev/x heat_energy"
    " power 12 012 0x10 1e5 1e999999999 -1 .inf .nan on ~ '' 1h 1:30 !!binary 2026-11-21 ${X} ${"
    ' *a &a !x !!float =  << 0b11 1_000 +5 "\\0" "\\ud800" ~no-such-user/x energy 10 2025.12 a:b'
)
_YAML_KEYS = (
    "mqtt homeassistant meters log_level state_directory host port tls ca_file key_password"
    " password password_file base instance version keepalive minimum name protocol model id serial"
    " values custom interval update_interval timing tries register obis unit device_class"
    " precision icon key energy_scale address parity <<"
)
_WORDS, _KEYS = st.sampled_from(_YAML_WORDS.split()), st.sampled_from(_YAML_KEYS.split())
_FLOW = st.recursive(
    _WORDS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(st.tuples(_KEYS, inner), max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        ),
    ),
    max_leaves=8,
)
_METER = st.tuples(_KEYS, _FLOW).map(
    lambda p: f"{{name: A, protocol: kmp, model: multical_403, port: /dev/x, {p[0]}: {p[1]}}}"
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.tuples(_KEYS, _FLOW, _METER).map(
            lambda p: f"mqtt: {{{p[0]}: {p[1]}}}\nmeters: [{p[2]}]\n"
        ),
        st.tuples(_FLOW, _FLOW).map(lambda p: f"mqtt: {p[0]}\nmeters: {p[1]}\n"),
    )
)
def test_random_yaml_raises_only_config_errors(written: Load, text: str) -> None:
    with contextlib.suppress(ConfigError):
        written(text, {"X": "secret"})


def test_one_port_under_two_names(faults: Faults, tmp_path: Path) -> None:
    (tmp_path / "by-id").symlink_to(tmp_path / "ttyUSB0")
    meter = "  - {{name: {}, protocol: kmp, model: multical_403, port: {}}}\n"
    for first, second in (
        (f"{tmp_path}/ttyUSB0", f"{tmp_path}/by-id"),
        ("tcp://Bridge:2002", "tcp://bridge:2002"),
    ):
        fault = one(faults("meters:\n" + meter.format("A", first) + meter.format("B", second)))
        assert "meters[1].port: is the same port as" in fault
        assert fault.endswith("of meter 'A'; write both the same way")


def test_errors_between_meters_are_reported_with_other_errors(faults: Faults) -> None:
    text = """\
meters:
  - {name: Heat, protocol: kmp, model: multical_403, port: tcp://h:1}
  - {name: heat, protocol: kmp, model: multical_403, port: tcp://h:1, baudrate: 300}
  - {name: x, id: heat, protocol: kmp-ascii, port: tcp://h:1}
  - {name: y, protocol: han, port: tcp://h:1, energy_scale: 10}
  - {name: z, protocol: han, port: tcp://h:2, energy_scale: 3}
"""
    found = faults(text)
    assert found == [
        "c.yaml:3:12: meters[1].name: the id heat is used by meter 'Heat'; give another id",
        "c.yaml:3:60: meters[1].port: tcp://h:1 is opened as 1200 8N2 for meter 'Heat',"
        " as 300 8N2 here; give both the same line settings",
        "c.yaml:4:19: meters[2].id: the id heat is used by meter 'Heat'; give another id",
        "c.yaml:4:52: meters[2].port: tcp://h:1 is used by meter 'Heat' with protocol kmp;"
        " meters on one port must speak the same protocol",
        "c.yaml:5:36: meters[3].port: tcp://h:1 is used by meter 'Heat'; a HAN port cannot be"
        " shared",
        "c.yaml:6:61: meters[4].energy_scale: allowed: 10, 1, 'auto'",
    ]


def test_errors_between_valid_meters(faults: Faults) -> None:
    assert "the id heat is used by" in one(
        faults(METER + METER.partition("\n")[2].replace(":1}", ":2}"))
    )


def test_warning_of_a_short_interval_on_a_battery(written: Load, tmp_path: Path) -> None:
    config = written(METER.replace("tcp://h:1", "tcp://h:1, update_interval: 59s"))
    assert len(config.warnings) == 1
    assert config.warnings[0].startswith(
        f"{tmp_path}/c.yaml:2:88: meters[0].update_interval: 59 s drains the battery"
    )
    assert written(METER.replace("tcp://h:1", "tcp://h:1, interval: 60")).warnings == ()
    assert written(METER).warnings == ()


def test_warning_of_a_short_interval_names_no_model_before_detection(written: Load) -> None:
    config = written(
        METER.replace("multical_403", "auto").replace("tcp://h:1", "tcp://h:1, interval: 59s")
    )
    assert len(config.warnings) == 1
    assert "59 s drains the battery of a battery meter; its rated life" in config.warnings[0]


def test_sections_may_be_empty(written: Load) -> None:
    config = written(METER + "mqtt:\nhomeassistant:\n")
    assert (config.mqtt.host, config.homeassistant.prefix) == ("localhost", "homeassistant")


def test_broker_must_be_a_mapping(faults: Faults) -> None:
    assert one(faults(METER + "mqtt: x\n")) == (
        "c.yaml:3:7: mqtt: must be a mapping: lines of key: value"
    )


def test_relative_paths_start_at_the_file(written: Load, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    config = written(METER + "mqtt: {tls: {ca_file: ca.pem}}\nstate_directory: state\n")
    assert config.mqtt.tls is not None
    assert config.mqtt.tls.ca_file == tmp_path / "ca.pem"
    assert config.state_directory == tmp_path / "state"


KEY = "000102030405060708090A0B0C0D0E0F"
HAN = "meters:\n  - {name: Main meter, protocol: han, port: /dev/x"


def key_of(config: Config) -> object:
    return config.meters[0].codec_options()["encryption_key"]


def test_a_key_from_the_environment_a_file_and_a_credential(written: Load, tmp_path: Path) -> None:
    expected = bytes(range(16))
    config = written(HAN + ', encryption_key: "${GPK60}"}\n', {"GPK60": KEY})
    assert key_of(config) == expected
    assert KEY in config.secrets()
    (tmp_path / "gpk60").write_text(KEY + "\n")
    assert key_of(written(HAN + ", encryption_key_file: gpk60}\n", {})) == expected
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "main_meter_encryption_key").write_text(KEY)
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert key_of(written(HAN + "}\n", environ)) == expected
    (credentials / "other").write_text(KEY)
    assert key_of(written(HAN + ", encryption_key_file: other}\n", environ)) == expected


def test_invalid_key_files(faults: Faults, tmp_path: Path) -> None:
    assert "encryption_key_file: " in one(faults(HAN + ", encryption_key_file: none}\n"))
    (tmp_path / "empty").write_text("")
    assert "must hold the key, one line" in one(faults(HAN + ", encryption_key_file: empty}\n"))
    both = f", encryption_key: '{KEY}', encryption_key_file: empty}}\n"
    assert "means the same as encryption_key" in one(faults(HAN + both))
