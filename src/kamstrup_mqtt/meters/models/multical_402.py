"""MULTICAL 402, heat and cooling meter: the registers that users' tools read.

Its optical eye goes to sleep about 30 minutes after the last button press or reading.
"""

from kamstrup_mqtt.meters.model import Detection, MeterModel, ProtocolProfile

# fmt: off
_MORE = (
    63, 97, 110, 123, 124, 125, 126, 127, 128, 129, 130, 138, 139, 140, 141, 142, 143, 144, 145,
    146, 147, 149, 150, 1001,
)
# fmt: on

MODEL = MeterModel(
    name="MULTICAL 402",
    medium="heat",
    has_battery=True,
    interval=28 * 60.0,
    sleeps_after=30 * 60.0,
    profiles={
        "kmp": ProtocolProfile(
            groups={
                "values": (
                    *(60, 68, 86, 87, 89, 74, 80, 1004, 99, 113),
                    *(
                        "info_text",
                        "problem_leak",
                        "problem_burst",
                        "problem_air",
                        "problem_reversed_flow",
                    ),
                    *("problem_probe", "problem_flow_sensor", "problem_supply"),
                ),
            },
            more=_MORE,
            identity=("serial_no", 1001),
            info_tables={99: "sum_602"},
            detection=Detection(names=("402",), sources=(60,)),
        ),
    },
    note="The optical eye sleeps about 30 minutes after the last reading: press a button, or read"
    " at least every 28 minutes.",
)
