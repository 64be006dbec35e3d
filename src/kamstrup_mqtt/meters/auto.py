"""A KMP meter whose model is found out by asking it (`model: auto`).

Its groups are the registers that tell models apart, and what is read from a meter that turns out
to be none of those that this program knows. `more` is what the configuration may list meanwhile.
"""

from kamstrup_mqtt.model import Dialect, MeterModel

# fmt: off
_MORE = (
    80, 87, 89, 99, 1004, 175, 113, 63, 94, 61, 62, 95, 96, 97, 110, 64, 65, 362, 69, 72, 73, 75,
    84, 85, 88, 122, 91, 92, *range(123, 131), *range(138, 148), 149, 150, 1003, 1002, 348, 1001,
    "heat_energy_precise", "info_text",
    2, 3, 4, 13, 19, 23, 1024, 1025, 1026, 1054, 1055, 1056, 1076, 1077, 1078,
)
# fmt: on

MODEL = MeterModel(
    name="KMP meter, model found by asking",
    medium="any",
    battery=True,
    dialects={
        "kmp": Dialect(
            groups={
                "values": (
                    *(60, 68, 74, 86, 1, 1023, 404, 1058),
                    *(266, 369, 239, 155, 171, 243, 292, 1126),
                )
            },
            more=_MORE,
            identity=("serial_no", 1001),
            precise=266,
        )
    },
    note="The meter is asked once, then read as the model it is, with that model's interval. For an"
    " electricity meter set baudrate: 9600.",
)
