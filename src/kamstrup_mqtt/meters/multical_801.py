"""MULTICAL 801, heat and cooling: the registers of the 601 and those of its own modules
(Kamstrup 5512-447 rev M1, register list). Mains is usual, battery the careful assumption.

What its info code (99) means is not confirmed, so it is switched off.
"""

from kamstrup_mqtt.model import Dialect, MeterModel

# fmt: off
_MORE = (
    94, 63, 61, 62, 95, 96, 97, 110, 64, 65, 66, 67, 69, 72, 73, 84, 85, 75, 88, 122, 91, 92, 175,
    123, 124, 125, 126, 127, 128, 129, 130, 138, 139, 140, 141, 142, 143, 144, 145, 146, 147, 149,
    150, 98, 1003, 1002, 152, 153, 168, 154, 1001, 112, 1010, 114, 104, 1005, 157, 158, 171, 172,
    184, 185, 218, 219, 220, 221,
)
# fmt: on

MODEL = MeterModel(
    name="MULTICAL 801",
    medium="heat",
    battery=True,
    dialects={
        "kmp": Dialect(
            groups={"values": (60, 68, 86, 87, 89, 74, 80, 1004, 99, 113, "info_text")},
            more=_MORE,
            identity=("serial_no", 1001),
            overrides={
                99: {"name": "Info code (unconfirmed)", "enabled": False},
                "info_text": {"name": "Info (unconfirmed)", "enabled": False},
            },
            info={99: "sum_602_unconfirmed"},
        ),
    },
)
