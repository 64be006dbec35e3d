"""A stored discovery message per meter model and protocol.

They are what Home Assistant is told of a meter that has answered everything it is asked by default.
A change in one is a change of the public contract: look at it, then write them anew by hand with
`python -m tests.snapshots`.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

from kamstrup_mqtt.core.model import Identity, Measurement, Reading
from kamstrup_mqtt.core.topics import Topics
from kamstrup_mqtt.devices.device import Device, DeviceConfig
from kamstrup_mqtt.homeassistant.discovery import meter_discovery
from kamstrup_mqtt.homeassistant.gateway_device import bridge_discovery
from kamstrup_mqtt.homeassistant.messages import DiscoveryConfig
from kamstrup_mqtt.meters import registry
from kamstrup_mqtt.meters.model import Quantity
from kamstrup_mqtt.meters.plan import PlannedValue, ReadingPlan, default_values
from kamstrup_mqtt.storage.state_schema import DeviceState

HERE = Path(__file__).parent
# what the meters send where the contract leaves the unit to them
SENT = {"energy": "MWh", "power": "kW", "volume_flow_rate": "L/h"}


def discovery_config(*, modern: bool = True) -> DiscoveryConfig:
    return DiscoveryConfig(topics=Topics(), is_modern=modern, version="1.2.3")


def model_device(model_id: str, protocol: str, *, everything: bool = False) -> Device:
    """A meter of that model that has told all it is asked by default (or all it can tell)."""
    model = registry.all_models()[model_id]
    profile = model.profiles[protocol]
    values = default_values(protocol, profile)
    if everything:
        group = next(iter(profile.groups))
        values += tuple(
            PlannedValue(source, registry.quantity_for(protocol, profile, source), group)
            for source in profile.more
        )
    pushed = registry.all_protocols()[protocol].is_pushed
    facts = DeviceConfig(
        id="meter",
        name="My meter",
        model_id=model_id,
        model=model,
        plan=ReadingPlan(
            protocol=protocol, profile=profile, values=values, periods=profile.periods
        ),
        interval=None if pushed else 60.0,
    )
    device = Device(facts, DeviceState(), 0.0)
    if profile.identity:
        identity = Identity(meter="meter", serial="12345678", source=profile.identity[0])
        device.apply(identity, 0.0)
    for group in profile.groups:
        measured = {v.quantity.key: example(v.quantity) for v in values if v.group == group}
        device.apply(Reading(meter="meter", group=group, time=None, values=measured), 0.0)
    return device


def example(quantity: Quantity) -> Measurement:
    """A value that such a quantity may have."""
    if quantity.device_class == "date":
        return Measurement("2026-11-21")
    if quantity.is_binary:
        return Measurement("OFF")
    if quantity.is_text:
        return Measurement("0012")
    unit = SENT.get(quantity.device_class or "") if quantity.as_sent else quantity.unit
    return Measurement(Decimal("1.5"), unit)


def snapshots() -> dict[str, str]:
    """File name -> contents, for every model in every protocol it speaks, and the bridge."""
    messages = {"bridge": bridge_discovery(discovery_config()).payload}
    for model_id, model in registry.all_models().items():
        for protocol in model.profiles:
            found = meter_discovery(discovery_config(), model_device(model_id, protocol))
            assert found is not None
            messages[f"{model_id}.{protocol}"] = found.payload
    return {
        f"{name}.json": json.dumps(json.loads(payload), indent=1, ensure_ascii=False) + "\n"
        for name, payload in messages.items()
    }
