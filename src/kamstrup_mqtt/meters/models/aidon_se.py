"""Aidon electricity meters in Sweden.

They push one list every 10 s, which contains neither a list identifier nor a serial number.
"""

from dataclasses import replace

from kamstrup_mqtt.meters.han_profile import AIDON, han_profile, push_groups
from kamstrup_mqtt.meters.model import ListDetection, MeterModel

_PHASE_POWERS = tuple(f"{code + 20 * phase}.7.0" for code in (21, 22) for phase in range(3))

MODEL = MeterModel(
    name="Aidon, Sweden",
    manufacturer="Aidon",
    medium="electricity",
    note="Its list has no serial number: the id of the configuration stands for it.",
    profiles={
        "han": replace(
            han_profile(AIDON, phases=3),
            groups=push_groups((AIDON,), 3, _PHASE_POWERS, has_ids=False),
            identity=(),
            overrides={
                f"1-0:{code + 20 * phase}.7.0.255": {"name": f"Reactive power {way} L{phase + 1}"}
                for phase in range(3)
                for code, way in ((23, "import"), (24, "export"))
            },
            periods={"live": 10, "hourly": 10},
            detection=ListDetection(maker=AIDON.maker, phases=3, list_ids=()),
        )
    },
)
