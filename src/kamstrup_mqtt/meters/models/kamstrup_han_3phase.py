"""Kamstrup three-phase electricity meters with a HAN port (684 direct, 685 with transformers)."""

from kamstrup_mqtt.meters.han_profile import KAMSTRUP, han_profile, phase_numbers
from kamstrup_mqtt.meters.model import MeterModel

MODEL = MeterModel(
    name="HAN meter, three phases",
    medium="electricity",
    note="On three-wire (IT) networks the voltages are line to line.",
    profiles={
        # the OMNIPOWER list "DLMS push 1" has more
        "han": han_profile(
            KAMSTRUP,
            phases=3,
            more=("1-1:0.0.1.255", *KAMSTRUP.codes(phase_numbers(3))),
        )
    },
)
