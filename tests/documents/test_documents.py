"""The written documents: every block does what it says, and every link has a target."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from docs.generator import __main__ as generator
from docs.generator import diagrams, quantities

from kamstrup_mqtt import cli
from kamstrup_mqtt.config import loader
from kamstrup_mqtt.core.model import LinkState
from kamstrup_mqtt.meters import registry
from tests.meters.vectors import exact, map_vector, read_vectors
from tests.support.documents import DOCUMENTS, ROOT, Block, all_blocks

KNOWN = {
    "sh", "sh run", "yaml config", "yaml ser2net", "yaml compose", "yaml vector", "json", "toml",
    "ini", "python run", "diagram", "text", "",
}  # fmt: skip


def _of(*infos: str) -> list[pytest.ParameterSet]:  # type: ignore[name-defined]
    return [pytest.param(b, id=b.where) for b in all_blocks() if b.info in infos]


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_block_is_of_a_kind_that_a_test_checks() -> None:
    assert {block.info for block in all_blocks()} <= KNOWN


@pytest.mark.parametrize("block", _of("yaml config"))
def test_configurations_load(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(block.text, encoding="utf-8")
    keys = {"GPK60": "0F" * 16, "GPK61": "F0" * 16}
    config = loader.load(file, {"MQTT_PASSWORD": "secret", **keys})
    assert config.meters


@pytest.mark.parametrize("block", _of("yaml ser2net", "yaml compose"))
def test_foreign_yaml_parses(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), dict)


@pytest.mark.parametrize("block", _of("yaml vector"))
def test_vectors_have_the_values_of_their_bytes(block: Block) -> None:
    for vector in read_vectors("multical_403", block.text):
        assert exact(map_vector(vector)) == exact(vector.values)


@pytest.mark.parametrize("block", _of("json"))
def test_json_parses(block: Block) -> None:
    assert isinstance(json.loads(block.text), dict)


@pytest.mark.parametrize("block", _of("toml"))
def test_toml_parses(block: Block) -> None:
    assert tomllib.loads(block.text)


@pytest.mark.parametrize("block", _of("diagram"))
def test_diagrams_have_boxes_and_arrows(block: Block) -> None:
    drawn = diagrams.render(block.text)
    assert drawn.count("<rect") >= 2
    assert drawn.count('class="head"') >= 1
    assert not re.search(r"--|-&gt;", re.sub(r"<[^>]*>", "", drawn)), "an arrow is misspelled"


def _environment() -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": scripts + os.pathsep + os.environ["PATH"]}


@pytest.mark.parametrize("block", _of("sh run"))
def test_shell_blocks_run(block: Block, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-eu", "-c", block.text],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("block", _of("python run"))
def test_python_blocks_print_what_their_comments_promise(block: Block, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block.text],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    promised = re.findall(r"#\s*-> (.*)", block.text)
    assert done.stdout.splitlines() == promised


@pytest.mark.parametrize("block", _of("sh", "sh run"))
def test_shell_blocks_parse(block: Block) -> None:
    subprocess.run(["sh", "-n", "-c", block.text], check=True)
    for line in block.text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["kamstrup-mqtt"]:
            cli.make_parser(words[1:]).parse_args(words[1:])
        if words[:1] == ["make"]:
            targets = re.findall(r"^([a-z-]+):", _text("Makefile"), re.M)
            assert words[1] in targets


def test_the_readme_is_one_page() -> None:
    assert len(_text("README.md").splitlines()) <= 150


def test_the_readme_has_the_generated_table_of_meters() -> None:
    readme = _text("README.md")
    assert generator.readme(readme) == readme, "python -m docs.generator"
    assert readme.count("<!-- end of meters -->") == 1


def test_the_readme_names_every_model() -> None:
    readme = _text("README.md")
    for id_, model in registry.all_models().items():
        if model.medium == "any":
            continue
        for number in re.findall(r"\d{2,3}", model.name.replace("62056", "")):
            assert number in readme, f"README does not name {id_} ({model.name})"


def test_the_page_of_keys_is_up_to_date() -> None:
    assert _text("docs/quantities.md") == quantities.page(), "python -m docs.generator"


def test_the_tests_in_the_table_of_faults_exist() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", _text("docs/faults.md"))
    assert len(named) > 50
    gone = [f"{path}::{name}" for path, name in named if f"def {name}(" not in _text(path)]
    assert gone == []


def test_the_changelog_has_this_version() -> None:
    assert f"\n## {version('kamstrup-mqtt')}\n" in _text("CHANGELOG.md")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_a_file(name: str) -> None:
    generated = {ROOT / f"docs/meters/{id_}.md" for id_ in registry.all_models()}
    for target in re.findall(r"\]\(([^)]+)\)", _text(name)):
        path = target.partition("#")[0]
        if "://" in target or not path:
            continue
        file = ((ROOT / name).parent / path).resolve()
        assert file.exists() or file in generated, target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_named_source_files_exist(name: str) -> None:
    """Paths in backticks that begin at the root of the repository."""
    for path in re.findall(r"`((?:src|tests|bench|docs|systemd)/[\w./-]+)`", _text(name)):
        assert (ROOT / path).exists(), path


def test_troubleshooting_explains_every_link_state() -> None:
    headings = set(re.findall(r"^### `([a-z_]+)`", _text("docs/troubleshooting.md"), re.M))
    assert {state.value for state in LinkState} <= headings
