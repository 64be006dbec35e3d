"""The sources that must be read for derived ones."""

from __future__ import annotations

from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.dependencies import affected_sources, inputs_of, sources_to_read

HEAT = registry.all_models()["multical_403"].profiles["kmp"]
OLD = registry.all_models()["multical_602"].profiles["kmp"]


def test_inputs() -> None:
    assert inputs_of(HEAT, 68) == (68,)
    assert inputs_of(HEAT, "heat_energy_precise") == (60, 266)
    assert inputs_of(HEAT, "info_text") == (99,)
    assert inputs_of(HEAT, "info_bits_text") == (369,)
    assert inputs_of(HEAT, "problem_leak") == ()  # unconfirmed
    assert inputs_of(OLD, "problem_leak") == (99,)


def test_registers_of_the_precise_energy_are_read_side_by_side() -> None:
    assert sources_to_read(HEAT, (68, "heat_energy_precise", 60, 74)) == (68, 60, 266, 74)
    assert sources_to_read(HEAT, (60, *range(100, 108), 266)) == (60, 266, *range(100, 108))
    assert sources_to_read(HEAT, (266, 60)) == (60, 266)
    assert sources_to_read(HEAT, (266, 68)) == (266, 68)


def test_each_input_is_read_once() -> None:
    sources = ("problem_leak", "info_text", "heat_energy_precise")
    assert sources_to_read(OLD, sources) == (99, 60, 155)


def test_sources_affected_by_a_failed_one() -> None:
    sources = (60, 68, "heat_energy_precise", "info_text")
    assert affected_sources(HEAT, sources, frozenset((266,))) == {"heat_energy_precise"}
    assert affected_sources(HEAT, sources, frozenset((60,))) == {60, "heat_energy_precise"}
    assert affected_sources(HEAT, sources, frozenset((99,))) == {"info_text"}
