"""Aidon three-phase electricity meters with a HAN port (6525, 6534), and Landis+Gyr E350."""

from kamstrup_mqtt.meters.han_profile import AIDON, han_profile
from kamstrup_mqtt.meters.model import MeterModel

MODEL = MeterModel(
    name="Aidon, three phases",
    manufacturer="Aidon",
    medium="electricity",
    note="On three-wire (IT) networks the voltages are line to line, and I of L2 is missing.",
    profiles={"han": han_profile(AIDON, phases=3)},
)
