"""Aidon electricity meters in Sweden: one list every 10 s, which tells no serial number."""

from kamstrup_mqtt.core.model import SerialParams, SourceId
from kamstrup_mqtt.meters.model import MeterModel, ProtocolProfile

REACTIVE_PHASES: dict[SourceId, dict[str, object]] = {
    f"1-0:{21 + 20 * phase + code}.7.0.255": {"name": f"Reactive power {way} L{phase + 1}"}
    for phase in range(3)
    for code, way in ((2, "import"), (3, "export"))
}
"""What its list has beside the values that have keys."""

MODEL = MeterModel(
    name="Aidon, Sweden",
    manufacturer="Aidon",
    medium="electricity",
    note="Its list has no serial number: the id of the configuration stands for it.",
    profiles={
        "han": ProtocolProfile(
            groups={
                "live": (
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
                    "1-0:21.7.0.255",
                    "1-0:41.7.0.255",
                    "1-0:61.7.0.255",
                    "1-0:22.7.0.255",
                    "1-0:42.7.0.255",
                    "1-0:62.7.0.255",
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
            identity=(),
            overrides=REACTIVE_PHASES,
            serial=SerialParams(2400, 8, "E", 1),
            periods={"live": 10, "hourly": 10},
        )
    },
)
