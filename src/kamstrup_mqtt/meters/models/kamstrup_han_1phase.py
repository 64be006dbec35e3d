"""Kamstrup single-phase electricity meters with a HAN port (686)."""

from kamstrup_mqtt.meters.han_profile import KAMSTRUP, han_profile, phase_numbers
from kamstrup_mqtt.meters.model import MeterModel

MODEL = MeterModel(
    name="HAN meter, one phase",
    medium="electricity",
    profiles={
        # the OMNIPOWER list "DLMS push 1" has more
        "han": han_profile(
            KAMSTRUP,
            phases=1,
            more=("1-1:0.0.1.255", *KAMSTRUP.codes(phase_numbers(1))),
        )
    },
)
