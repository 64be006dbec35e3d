"""Kamstrup three-phase electricity meters with a HAN port (684 direct, 685 with transformers)."""

from kamstrup_mqtt.meters.model import MeterModel, ProtocolProfile

MODEL = MeterModel(
    name="HAN meter, three phases",
    medium="electricity",
    note="On three-wire (IT) networks the voltages are line to line.",
    profiles={
        "han": ProtocolProfile(
            groups={
                "live": (
                    "list_id",
                    "1-1:0.0.5.255",
                    "1-1:96.1.1.255",
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
                    "live-1.8.0",
                    "live-2.8.0",
                    "live-3.8.0",
                    "live-4.8.0",
                ),
                "hourly": (
                    "0-1:1.0.0.255",
                    "clock_drift",
                    "1-1:1.8.0.255",
                    "1-1:2.8.0.255",
                    "1-1:3.8.0.255",
                    "1-1:4.8.0.255",
                ),
            },
            # the OMNIPOWER list "DLMS push 1"
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
            ),
            identity=("1-1:0.0.5.255", "1-1:0.0.1.255", "0-0:96.1.0.255"),
            periods={"live": 10, "hourly": 3600},
        )
    },
)
