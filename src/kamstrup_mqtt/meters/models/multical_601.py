"""MULTICAL 601, heat and cooling meter (Kamstrup 5512-447 rev M1, register list).

Register 155 counts Wh from an unknown start, so it is not a total by itself. It has been read on
a 602.
"""

from kamstrup_mqtt.meters.model import Detection, MeterModel, ProtocolProfile

# fmt: off
_MORE = (
    94, 63, 61, 62, 95, 96, 97, 110, 64, 65, 66, 67, 69, 72, 73, 84, 85, 75, 88, 122, 91, 92, 175,
    123, 124, 125, 126, 127, 128, 129, 130, 138, 139, 140, 141, 142, 143, 144, 145, 146, 147, 149,
    150, 98, 1003, 1002, 152, 153, 168, 154, 1001, 112, 1010, 114, 104, 1005, 157, 158,
)
# fmt: on

MODEL = MeterModel(
    name="MULTICAL 601",
    medium="heat",
    has_battery=True,
    profiles={
        "kmp": ProtocolProfile(
            groups={
                "values": (
                    *(60, 155, 68, 86, 87, 89, 74, 80, 1004, 99, 113, "heat_energy_precise"),
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
            overrides={
                155: {"name": "Heat energy counted from an unknown start"},
            },
            high_resolution=155,
            info_tables={99: "sum_602"},
            # with 15xx through a 67-05 top module
            detection=Detection(
                names=("601",),
                types=("0001", "0004", "0005", "1501", "1504", "1505"),
                sources=(60,),
                none_of=(266, 171),
            ),
        ),
    },
)
