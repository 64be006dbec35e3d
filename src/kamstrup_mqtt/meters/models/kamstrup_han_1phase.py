"""Kamstrup single-phase electricity meters with a HAN port (686)."""

from kamstrup_mqtt.meters.model import MeterModel, ProtocolProfile

MODEL = MeterModel(
    name="HAN meter, one phase",
    medium="electricity",
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
                    "1-1:32.7.0.255",
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
                "1-1:22.7.0.255",
                "1-1:13.7.0.255",
                "1-1:33.7.0.255",
                "1-1:21.8.0.255",
                "1-1:22.8.0.255",
            ),
            identity=("1-1:0.0.5.255", "1-1:0.0.1.255", "0-0:96.1.0.255"),
            periods={"live": 10, "hourly": 3600},
        )
    },
)
