"""Kaifa three-phase electricity meters with a HAN port (MA304)."""

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.meters.model import MeterModel, ProtocolProfile

MODEL = MeterModel(
    name="Kaifa, three phases",
    manufacturer="Kaifa",
    medium="electricity",
    note="A three-wire MA304H3E tells 0 for the voltage of L2.",
    profiles={
        "han": ProtocolProfile(
            groups={
                "live": (
                    "1-0:0.2.129.255",
                    "0-0:96.1.0.255",
                    "0-0:96.1.7.255",
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
                    "0-0:1.0.0.255",
                    "clock_drift",
                    "1-0:1.8.0.255",
                    "1-0:2.8.0.255",
                    "1-0:3.8.0.255",
                    "1-0:4.8.0.255",
                ),
            },
            identity=("0-0:96.1.0.255",),
            serial=SerialParams(2400, 8, "E", 1),
            periods={"live": 10, "hourly": 3600},
        )
    },
)
