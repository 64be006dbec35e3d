"""Kaifa single-phase electricity meters with a HAN port (MA105)."""

from kamstrup_mqtt.meters.han_profile import KAIFA, han_profile
from kamstrup_mqtt.meters.model import MeterModel

MODEL = MeterModel(
    name="Kaifa, one phase",
    manufacturer="Kaifa",
    medium="electricity",
    profiles={"han": han_profile(KAIFA, phases=1)},
)
