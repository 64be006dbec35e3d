"""Aidon single-phase electricity meters with a HAN port (6515)."""

from kamstrup_mqtt.meters.han_profile import AIDON, han_profile
from kamstrup_mqtt.meters.model import MeterModel

MODEL = MeterModel(
    name="Aidon, one phase",
    manufacturer="Aidon",
    medium="electricity",
    profiles={"han": han_profile(AIDON, phases=1)},
)
