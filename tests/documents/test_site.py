"""The generated pages, and the site as MkDocs builds it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from docs.generator import commands, configuration, diagrams, meters
from docs.generator.tables import table

from kamstrup_mqtt import cli
from kamstrup_mqtt.config import loader
from kamstrup_mqtt.config.meters import PROTOCOLS, meter_class
from kamstrup_mqtt.meters import registry
from tests.support.documents import ROOT, blocks_of

MODELS = registry.all_models()
OPTIONS = [
    pytest.param(group, option, id=f"{group.anchor}-{option.name}")
    for group in configuration.GROUPS
    for name in group.models
    for option in configuration.options(configuration.models()[name])
]


@pytest.mark.parametrize("id_", MODELS)
def test_a_model_page_has_every_key_and_a_valid_example(id_: str, tmp_path: Path) -> None:
    model = MODELS[id_]
    page = meters.page(id_, model)
    for profile in model.profiles.values():
        for source in (*(s for group in profile.groups.values() for s in group), *profile.more):
            assert f"`{source}` |" in page
    examples = [block for block in blocks_of(id_, page) if block.info == "yaml config"]
    assert len(examples) == len(model.profiles)
    for example in examples:
        file = tmp_path / "config.yaml"
        file.write_text(example.text, encoding="utf-8")
        assert loader.load(file, {}).meters[0].model == id_


def test_the_page_of_the_303_warns_of_its_sleeping_eye() -> None:
    page = meters.page("multical_303", MODELS["multical_303"])
    assert "magnet of a head does not keep" in page


def test_every_protocol_has_a_way_to_connect() -> None:
    assert set(meters.CONNECTION) == set(PROTOCOLS)


def test_every_option_of_every_model_is_on_the_page() -> None:
    page = configuration.page()
    shown = {name for group in configuration.GROUPS for name in group.models}
    for name, model in configuration.models().items():
        own = list(configuration.options(model))
        assert name in shown or name.endswith("Timing") or not own, f"{name} is in no group"
        for option in own:
            assert f"### `{option.name}` {{#" in page


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_an_option_has_a_type_a_description_and_a_valid_example(
    group: configuration.Group, option: configuration.Option, tmp_path: Path
) -> None:
    assert option.description
    assert option.type
    if option.name == "meters":
        return  # the rest of the page is its example
    assert option.example.startswith(f"{option.name}: ") or option.name == "source"
    for name in ("ca.pem", "client.pem", "client.key", "mqtt-password", "gpk60", "gpk61"):
        (tmp_path / name).write_text("0F" * 16, encoding="utf-8")
    file = tmp_path / "config.yaml"
    file.write_text(_around(group, option), encoding="utf-8")
    keys = {"GPK60": "0F" * 16, "GPK61": "F0" * 16}
    config = loader.load(file, {"MQTT_PASSWORD": "s", "KEY_PASSWORD": "s", **keys})
    assert config.meters


COMPANIONS = {
    ("tls", "key_file"): {"cert_file": "client.pem"},
    ("tls", "key_password"): {"cert_file": "client.pem", "key_file": "client.key"},
    ("polled", "offset"): {"align": "true", "interval": "1h"},
    ("slow", "interval"): {"values": "[operating_hours]"},
    ("slow", "values"): {"interval": "1d"},
    ("values", "unit"): {"key": "flow"},
    ("values", "device_class"): {"key": "heat_energy"},
    ("custom", "name"): {"register": "86"},
    ("custom", "source"): {"name": "Inlet"},
}
"""What an example needs beside it."""


def _around(group: configuration.Group, option: configuration.Option) -> str:
    """A complete configuration with the example of an option at its place."""
    lines = [option.example]
    companions = COMPANIONS.get((group.anchor, option.name), {})
    if group.parent == "values" and option.name != "key":
        companions = {"key": "power", **companions}
    lines += [f"{key}: {value}" for key, value in companions.items()]
    parent = group.parent
    meter: list[str] = []
    if parent in ("values", "custom"):
        meter = [f"{parent}: [{{{', '.join(lines)}}}]"]
    elif parent in ("slow", "timing", "backfill"):
        meter = [f"{parent}: {{{', '.join(lines)}}}"]
    elif parent == "meters":
        meter = lines
    protocol = group.anchor if group.anchor in PROTOCOLS else "kmp"
    given = {line.partition(":")[0] for line in meter}
    defaults = {
        "name": "Meter",
        "protocol": protocol,
        "port": "/dev/ttyUSB0",
        **({} if "default" in _default_model(protocol) else {"model": "multical_403"}),
    }
    meter = [*(f"{k}: {v}" for k, v in defaults.items() if k not in given), *meter]
    text = "meters:\n  - " + "\n    ".join(meter) + "\n"
    if parent in ("", "mqtt", "mqtt.tls", "homeassistant", "spool"):
        depth = parent.split(".") if parent else []
        for level, key in enumerate(depth):
            text += "  " * level + f"{key}:\n"
        text += "".join("  " * len(depth) + f"{line}\n" for line in lines)
    return text


def _default_model(protocol: str) -> str:
    return "required" if meter_class(protocol).model_fields["model"].is_required() else "default"


def test_the_page_of_commands_has_every_command() -> None:
    page = commands.page()
    for name in cli.COMMANDS:
        assert f"## `{name}`" in page
        assert f"usage: kamstrup-mqtt {name}" in page


def test_a_diagram_escapes_its_text_and_labels_its_arrows() -> None:
    drawn = diagrams.render("a < b --50 & more--> c\nd --> e")
    assert drawn.count("<rect") == 4
    assert ">a &lt; b</text>" in drawn
    assert ">50 &amp; more</text>" in drawn
    assert 'aria-label="a &lt; b to c. d to e"' in drawn


def test_a_bar_in_a_cell_is_escaped() -> None:
    assert table(("x",), [("a|b",)]).splitlines()[-1] == "| a\\|b |"


def test_every_message_in_troubleshooting_is_one_of_the_program() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `([^`]+)` \|", page.partition("## Messages")[2], re.M)
    assert len(quoted) > 50
    texts = list(_source_texts())
    unknown = [
        message
        for message in quoted
        for part in message.split("…")
        if len(part.strip(" :(").rstrip()) > 3 and not any(part.strip() in text for text in texts)
    ]
    assert unknown == []


def _source_texts() -> list[str]:
    """Every text in the source, with "…" where a value is inserted."""
    texts = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                texts.append("…".join(
                    str(part.value) for part in node.values if isinstance(part, ast.Constant)
                ))  # fmt: skip
    return texts


class _Loaded(HTMLParser):
    """Collects what a browser loads by itself when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" or tag in ("script", "img", "iframe", "source"):
            self.urls += [url for url in (given.get("src"), given.get("href")) if url]


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(MODELS) + 20
    for page in pages:
        parser = _Loaded()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.urls
        assert not [url for url in parser.urls if re.match(r"(https?:)?//", url)], page
        assert "generated: " not in page.read_text(encoding="utf-8"), page
    for stylesheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", stylesheet.read_text(encoding="utf-8"))
