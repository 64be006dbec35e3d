"""MULTICAL 66 and MULTICAL III, heat meters that speak IEC 61107 at 300 baud.

Meters that identify themselves as `/KAM MC` send the readout at once (mode A), `/KAM0MC` waits for
an acknowledgement; both work. Temperatures come from the separate request `/#1`, whose other
numbers have neither a unit nor a decimal point.
"""

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.meters.model import MeterModel, ProtocolProfile

MODEL = MeterModel(
    name="MULTICAL 66, MULTICAL III",
    medium="heat",
    has_battery=True,
    profiles={
        "iec62056-21": ProtocolProfile(
            groups={"values": ("6.8", "6.26", "6.31", "0.0")},
            more=("manufacturer", "ident"),
            serial=SerialParams(300, 8, "N", 2, dtr=False, rts=True),
        ),
        "multical-66": ProtocolProfile(
            groups={
                "values": (
                    *("#1.t1", "#1.t2", "#1.diff", "#1.hours", "#1.info", "info_text"),
                    *("problem_probe", "problem_battery", "problem_flow_sensor"),
                )
            },
            more=(
                *("#1.energy", "#1.volume", "#1.power", "#1.flow", "#1.peak"),
                *("#2.customer", "#2.ta2", "#2.tl2", "#2.ta3", "#2.tl3", "#2.in_a", "#2.in_b"),
                *("#2.abccc", "#2.ddeffgg", "#2.date", "#3", "#4", "#8", "#9"),
            ),
            overrides={
                "#1.energy": {"name": "Energy, digits (unconfirmed)"},
                "#1.volume": {"name": "Volume, digits (unconfirmed)"},
                "#1.power": {"name": "Power, digits (unconfirmed)"},
                "#1.flow": {"name": "Flow, digits (unconfirmed)"},
                "#1.peak": {"name": "Peak, digits (unconfirmed)"},
                **{f"#{n}": {"name": f"Answer to /#{n} (unconfirmed)"} for n in (3, 4, 8, 9)},
            },
            info_tables={"#1.info": "multical_iii"},
        ),
    },
    note="0.0 is the customer's number: the entities are named after the configured id.",
)
