"""One direction: values are mapped, judged, derived or counted on, and then reported."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.heartbeat import Heartbeat
from kamstrup_mqtt.core.model import DecodedValue, Measurement, Reading
from kamstrup_mqtt.core.report_queue import ReportQueue
from kamstrup_mqtt.meters.derived import Deriver
from kamstrup_mqtt.reading.context import ReaderContext
from kamstrup_mqtt.reading.poll_reader import derivation_inputs
from kamstrup_mqtt.reading.reading_reporter import ReadingReporter
from kamstrup_mqtt.storage.state_file import StateFile
from tests.reading.test_reader import setup_of

Objects = tuple[DecodedValue, ...]


class Bench:
    """The reporter of one meter, and what it has put into the queue."""

    def __init__(self, model: str, protocol: str, keys: Iterable[str] | None = None) -> None:
        config = setup_of(model, protocol)
        if keys is not None:
            wanted = frozenset(keys)
            values = tuple(v for v in config.plan.values if v.quantity.key in wanted)
            plan = replace(config.plan, values=values, accept_unlisted=False)
            config = replace(config, plan=plan)
        clock, state_file = Clock(), StateFile(None, Clock())
        self.context = ReaderContext(
            config=config,
            state=state_file.meter(config.id).reader,
            state_file=state_file,
            report_queue=ReportQueue(),
            clock=clock,
            heartbeat=Heartbeat("reader", clock.monotonic),
            log=logging.getLogger("kamstrup_mqtt.meter.meter"),
        )
        self.deriver = Deriver(config.plan.profile)
        self.reporter = ReadingReporter(self.context, derivation_inputs(self.context))
        self.learned: dict[str, str] = {}

    def poll(self, *objects: DecodedValue) -> dict[str, Measurement]:
        """Report a poll, and return what it has published."""

        def derive(accepted: Objects) -> Objects:
            found = self.deriver.derive(accepted, self.learned)
            self.learned |= found.learned
            return found.objects

        assert self.reporter.report_poll(objects, (), b"", derive)
        return self.published()

    def published(self) -> dict[str, Measurement]:
        found: dict[str, Measurement] = {}
        for report in self.context.report_queue.take_all():
            assert isinstance(report, Reading)
            found |= report.values
        return found


def register(number: int, value: str, unit: str) -> DecodedValue:
    return DecodedValue(number, 0, Decimal(value), unit)


def test_nothing_is_derived_from_a_rejected_total(expected_logs: list[str]) -> None:
    """Register 155 starts anywhere; its offset is learned from register 60."""
    expected_logs.append("heat_energy is held back: 12.000 MWh is less than")
    bench = Bench("multical_602", "kmp")
    first = bench.poll(register(60, "35.812", "MWh"), register(155, "271211.3", "Wh"))
    assert first["heat_energy_precise"] == Measurement(Decimal("35812.0000"), "kWh")
    learned = dict(bench.learned)
    second = bench.poll(register(60, "12.000", "MWh"), register(155, "271211.4", "Wh"))
    assert second["heat_energy"] == Measurement(None, "MWh")
    assert "heat_energy_precise" not in second
    assert bench.learned == learned
    third = bench.poll(register(60, "35.812", "MWh"), register(155, "271211.4", "Wh"))
    assert third["heat_energy_precise"] == Measurement(Decimal("35812.0001"), "kWh")


def test_an_input_that_is_not_published_is_judged_too(expected_logs: list[str]) -> None:
    expected_logs.append("heat_energy is held back: 12.000 MWh is less than")
    bench = Bench("multical_602", "kmp", ("heat_energy_precise", "volume"))
    volume = register(68, "5", "m³")
    first = bench.poll(register(60, "35.812", "MWh"), register(155, "271211.3", "Wh"), volume)
    assert first.keys() == {"heat_energy_precise", "volume"}
    second = bench.poll(register(60, "12.000", "MWh"), register(155, "271211.4", "Wh"), volume)
    assert second.keys() == {"volume"}


def test_a_derived_total_is_judged_too(expected_logs: list[str]) -> None:
    expected_logs.append("heat_energy_precise is held back: 35811.0000 kWh is less than")
    bench = Bench("multical_602", "kmp")
    bench.poll(register(60, "35.812", "MWh"), register(155, "271211.3", "Wh"))
    found = bench.poll(register(60, "35.812", "MWh"), register(155, "270211.3", "Wh"))
    assert found["heat_energy"].value == Decimal("35.812")
    assert found["heat_energy_precise"] == Measurement(None, "kWh")


def test_a_poll_with_only_a_rejected_total_is_successful(expected_logs: list[str]) -> None:
    expected_logs.append("heat_energy is held back")
    bench = Bench("multical_403", "kmp", ("heat_energy",))
    bench.poll(register(60, "50.000", "GJ"))
    assert bench.poll(register(60, "7.000", "GJ")) == {"heat_energy": Measurement(None, "GJ")}
    assert bench.reporter.accept_held() == ("heat_energy",)
    assert bench.published() == {"heat_energy": Measurement(Decimal("7.000"), "GJ")}


def test_a_duplicate_address_is_judged_and_published_once() -> None:
    bench = Bench("multical_403", "kmp")
    found = bench.poll(register(68, "5", "m³"), register(68, "6", "m³"))
    assert found == {"volume": Measurement(Decimal(6), "m³")}
    assert bench.context.state.totals["volume"].value == Decimal(6)


# Pushed messages

POWER = DecodedValue("1-1:1.7.0.255", 0, Decimal(100), "W")


def energy(value: str) -> DecodedValue:
    return DecodedValue("1-1:1.8.0.255", 0, Decimal(value), "kWh")


def counting(seen: list[dict[str, Any]]) -> Callable[[Any], dict[str, Measurement]]:
    def count(values: Any) -> dict[str, Measurement]:
        seen.append(dict(values))
        return {"energy_import_live": Measurement(Decimal("44228.001"), "kWh")}

    return count


@pytest.mark.parametrize("keys", [None, ("energy_import_live", "voltage_l1")])
def test_only_accepted_registers_are_counted_on(
    expected_logs: list[str], keys: tuple[str, ...] | None
) -> None:
    """Also where the user wants the live counter alone."""
    expected_logs.append("energy_import is held back: 12.00 kWh is less than")
    bench = Bench("kamstrup_han_3phase", "han", keys)
    reporter = ReadingReporter(bench.context, ("power_import", "energy_import"))
    voltage = DecodedValue("1-1:32.7.0.255", 0, Decimal(230), "V")
    seen: list[dict[str, Any]] = []
    assert reporter.report_push((POWER, voltage, energy("44228.00")), b"", counting(seen))
    assert seen[-1]["energy_import"] == Measurement(Decimal("44228.00"), "kWh")
    published = bench.published()
    assert published["energy_import_live"] == Measurement(Decimal("44228.001"), "kWh")
    assert ("energy_import" in published) is (keys is None)
    assert reporter.report_push((POWER, voltage, energy("12.00")), b"", counting(seen))
    assert seen[-1]["power_import"] == Measurement(Decimal(100), "W")
    assert seen[-1]["energy_import"] == Measurement(None, "kWh")


def test_a_counter_without_its_group_waits_for_the_next_message() -> None:
    bench = Bench("kamstrup_han_3phase", "han")
    assert bench.reporter.report_push((energy("44228.00"),), b"", counting([]))
    assert bench.published() == {"energy_import": Measurement(Decimal("44228.00"), "kWh")}
