"""A meter that is recognised: by its lists on a HAN port, by asking it over KMP (`model: auto`).

HAN: Kamstrup, Aidon or Kaifa, one or three phases. KMP: the groups are the registers that tell
models apart, and what is read from a meter that turns out to be none of those that this program
knows; `more` is what the configuration may list meanwhile.
"""

from kamstrup_mqtt.meters.model import MeterModel, ProtocolProfile
from kamstrup_mqtt.meters.models.aidon_se import REACTIVE_PHASES

# fmt: off
_MORE = (
    80, 87, 89, 99, 1004, 175, 113, 63, 94, 61, 62, 95, 96, 97, 110, 64, 65, 362, 69, 72, 73, 75,
    84, 85, 88, 122, 91, 92, *range(123, 131), *range(138, 148), 149, 150, 1003, 1002, 348, 1001,
    "heat_energy_precise", "info_text",
    2, 3, 4, 13, 19, 23, 1024, 1025, 1026, 1054, 1055, 1056, 1076, 1077, 1078,
)
# fmt: on

MODEL = MeterModel(
    name="Meter recognised by what it tells",
    manufacturer="",
    medium="any",
    battery=True,
    note="HAN: Kamstrup, Aidon or Kaifa, recognised by its lists. KMP: the meter is asked once,"
    " then read as the model it is, with that model's interval. For an electricity meter set"
    " baudrate: 9600.",
    profiles={
        "han": ProtocolProfile(
            groups={
                "live": (
                    "list_id",
                    "1-1:0.2.129.255",
                    "1-0:0.2.129.255",
                    "1-1:0.0.5.255",
                    "0-0:96.1.0.255",
                    "1-1:96.1.1.255",
                    "0-0:96.1.7.255",
                    "1-1:1.7.0.255",
                    "1-1:2.7.0.255",
                    "1-1:3.7.0.255",
                    "1-1:4.7.0.255",
                    "1-1:31.7.0.255",
                    "1-1:51.7.0.255",
                    "1-1:71.7.0.255",
                    "1-1:32.7.0.255",
                    "1-1:52.7.0.255",
                    "1-1:72.7.0.255",
                    "1-0:1.7.0.255",
                    "1-0:2.7.0.255",
                    "1-0:3.7.0.255",
                    "1-0:4.7.0.255",
                    "1-0:31.7.0.255",
                    "1-0:51.7.0.255",
                    "1-0:71.7.0.255",
                    "1-0:32.7.0.255",
                    "1-0:52.7.0.255",
                    "1-0:72.7.0.255",
                    "live-1.8.0",
                    "live-2.8.0",
                    "live-3.8.0",
                    "live-4.8.0",
                ),
                "hourly": (
                    "0-1:1.0.0.255",
                    "0-0:1.0.0.255",
                    "clock_drift",
                    "1-1:1.8.0.255",
                    "1-1:2.8.0.255",
                    "1-1:3.8.0.255",
                    "1-1:4.8.0.255",
                    "1-0:1.8.0.255",
                    "1-0:2.8.0.255",
                    "1-0:3.8.0.255",
                    "1-0:4.8.0.255",
                ),
            },
            more=(
                "1-1:0.0.1.255",
                "1-1:21.7.0.255",
                "1-1:41.7.0.255",
                "1-1:61.7.0.255",
                "1-1:22.7.0.255",
                "1-1:42.7.0.255",
                "1-1:62.7.0.255",
                "1-1:13.7.0.255",
                "1-1:33.7.0.255",
                "1-1:53.7.0.255",
                "1-1:73.7.0.255",
                "1-1:21.8.0.255",
                "1-1:41.8.0.255",
                "1-1:61.8.0.255",
                "1-1:22.8.0.255",
                "1-1:42.8.0.255",
                "1-1:62.8.0.255",
                "1-0:21.7.0.255",
                "1-0:41.7.0.255",
                "1-0:61.7.0.255",
                "1-0:22.7.0.255",
                "1-0:42.7.0.255",
                "1-0:62.7.0.255",
                "1-0:13.7.0.255",
                "1-0:33.7.0.255",
                "1-0:53.7.0.255",
                "1-0:73.7.0.255",
                "1-0:21.8.0.255",
                "1-0:41.8.0.255",
                "1-0:61.8.0.255",
                "1-0:22.8.0.255",
                "1-0:42.8.0.255",
                "1-0:62.8.0.255",
            ),
            identity=("1-1:0.0.5.255", "1-1:0.0.1.255", "0-0:96.1.0.255"),
            overrides=REACTIVE_PHASES,
            periods={"live": 10, "hourly": 3600},
        ),
        "kmp": ProtocolProfile(
            groups={
                "values": (
                    *(60, 68, 74, 86, 1, 1023, 404, 1058),
                    *(266, 369, 239, 155, 171, 243, 292, 1126),
                )
            },
            more=_MORE,
            identity=("serial_no", 1001),
            precise=266,
            logger=True,
        ),
    },
)
