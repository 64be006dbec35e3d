"""Optical meters that do not speak KMP: identity, line, and values of published readouts."""

from __future__ import annotations

from decimal import Decimal

from kamstrup_mqtt.core.model import Measurement, SerialParams
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.mapping import map_objects
from kamstrup_mqtt.meters.model import MeterModel
from kamstrup_mqtt.meters.models import e685_382, iec_meter, multical_401
from kamstrup_mqtt.meters.plan import ReadingPlan, default_values
from kamstrup_mqtt.protocols.base import Frame
from tests.support import iec_recordings as iec
from tests.support import kmp_ascii_recordings as ascii_
from tests.support.framing import events_of


def readings(model: MeterModel, protocol: str, *wires: bytes) -> dict[str, Measurement]:
    """Return the values of the frames in `wires` that the model reads by default."""
    profile = model.profiles[protocol]
    values = default_values(protocol, profile)
    plan = ReadingPlan(protocol=protocol, profile=profile, values=values, periods={})
    codec = registry.all_protocols()[protocol].make_codec()
    events = events_of(codec.framer(), wires)
    objects = [obj for e in events if isinstance(e, Frame) for obj in codec.decode(e).objects]
    result = map_objects(plan, objects, plan.sources)
    assert (result.unmapped, dict(result.wrong_unit), list(result.groups)) == ((), {}, ["values"])
    return dict(result.groups["values"])


def test_thirteen_values_over_kmp_ascii() -> None:
    """decisions.md, Units and numbers; values of kmp.md 3.2."""
    wires = (ascii_.IDENTITY_ANSWER, ascii_.ENERGY_ANSWER, ascii_.TARIFFS_ANSWER)
    assert readings(e685_382.MODEL, "kmp-ascii", *wires) == {
        "meter_type": Measurement("685382OK10"),
        "meter_id": Measurement("123456"),
        "customer_number": Measurement("10865272"),
        "energy_import": Measurement(Decimal(9032), "kWh"),
        "register_fe90_1": Measurement(Decimal(0)),
        "operating_hours": Measurement(Decimal(57037), "h"),
        "energy_import_high_res": Measurement(Decimal("9032.33"), "kWh"),
        "peak_power": Measurement(Decimal(1559), "W"),
        "customer_number_2": Measurement("10865272"),
        "production_number": Measurement("268439699"),
        "energy_import_2": Measurement(Decimal(9032), "kWh"),
        "energy_import_tariff_1": Measurement(Decimal(9031), "kWh"),
        "energy_import_tariff_2": Measurement(Decimal(1), "kWh"),
    }


def test_inferred_energy_is_not_a_total() -> None:
    """kmp.md 3.2, RESET_COUNTER "(inferred)"; decisions.md, Units and numbers."""
    profile = e685_382.MODEL.profiles["kmp-ascii"]
    found = registry.quantity_for("kmp-ascii", profile, "FE90.energy_high_res")
    assert found.key == "energy_import_high_res"
    assert found.name == "Energy import high resolution (unconfirmed)"
    assert (found.state_class, found.category, found.enabled) == (None, "diagnostic", False)
    assert registry.quantity_for("kmp", None, 13).state_class == "total_increasing"


def test_ten_values_over_iec_61107() -> None:
    """Seed 000, README."""
    assert readings(e685_382.MODEL, "iec62056-21", iec.SEED) == {
        "manufacturer": Measurement("KAM"),
        "model": Measurement("685-382-OK-10"),
        "customer_number": Measurement("10865272"),
        "energy_import": Measurement(Decimal(9032), "kWh"),
        "energy_import_tariff_1": Measurement(Decimal(9031), "kWh"),
        "energy_import_tariff_2": Measurement(Decimal(1), "kWh"),
        "operating_hours": Measurement(Decimal(57392), "h"),
        "pulse_input": Measurement(Decimal(0)),
        "peak_power": Measurement(Decimal("1.5"), "kW"),
        "peak_power_last_month": Measurement(Decimal("2.8"), "kW"),
    }


def test_multical_401() -> None:
    """kmp.md 3.3."""
    wire = b"/KAM0MC\r\n\x020.0(00002742640)6.8(0456.631*GJ)6.26(3447.381*m3)6.31(0040345*h)!\r\n"
    assert readings(multical_401.MODEL, "iec62056-21", wire + b"\x03\x10") == {
        "customer_number": Measurement("00002742640"),
        "heat_energy": Measurement(Decimal("456.631"), "GJ"),
        "volume": Measurement(Decimal("3447.381"), "m³"),
        "operating_hours": Measurement(Decimal(40345), "h"),
    }
    assert multical_401.MODEL.has_battery
    serial = multical_401.MODEL.profiles["iec62056-21"].serial
    assert serial == SerialParams(300, 8, "N", 2, dtr=False, rts=True)


def test_meter_in_mode_c() -> None:
    found = readings(iec_meter.MODEL, "iec62056-21", iec.ISKRA)
    assert found["energy_import"] == Measurement(Decimal("14830.986"), "kWh")
    assert found["energy_import_tariff_1"] == Measurement(Decimal("5515.448"), "kWh")
    assert found["energy_import_tariff_2"].value is None


def test_identity_and_power_supply() -> None:
    profiles = e685_382.MODEL.profiles
    assert profiles["kmp-ascii"].identity == ("FE01.meter_id",)
    assert profiles["iec62056-21"].identity == ()
    assert not e685_382.MODEL.has_battery
