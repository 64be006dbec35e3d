"""Kaifa three-phase electricity meters with a HAN port (MA304)."""

from kamstrup_mqtt.meters.han_profile import KAIFA, han_profile
from kamstrup_mqtt.meters.model import MeterModel

MODEL = MeterModel(
    name="Kaifa, three phases",
    manufacturer="Kaifa",
    medium="electricity",
    note="A three-wire MA304H3E sends 0 for the voltage of L2.",
    profiles={"han": han_profile(KAIFA, phases=3)},
)
