"""Kamstrup 685-382, the older three-phase electricity meter with an optical eye.

It answers KMP-ASCII (1200 8E2, thirteen values) and IEC 61107 in mode A (300 7E1, ten values).
Unconfirmed: the meaning of the second field of FE 90, which is 0 in every sample. That its fourth
field is the total in 0.01 kWh is inferred, and checked against the total in every answer.
"""

from kamstrup_mqtt.meters.model import Detection, MeterModel, ProtocolProfile

MODEL = MeterModel(
    name="685-382",
    medium="electricity",
    profiles={
        "kmp-ascii": ProtocolProfile(
            groups={
                "values": (
                    "FE01.meter_type",
                    "FE01.meter_id",
                    "FE01.customer_number",
                    "FE90.energy",
                    "FE90.field1",
                    "FE90.operating_hours",
                    "FE90.energy_high_res",
                    "FE90.peak_power",
                    "FE90.customer_number",
                    "FE90.production_number",
                    "FE95.energy",
                    "FE95.tariff_1",
                    "FE95.tariff_2",
                )
            },
            identity=("FE01.meter_id",),
            overrides={
                "FE90.energy_high_res": {
                    "name": "Energy import high resolution (unconfirmed)",
                    "state_class": None,
                    "category": "diagnostic",
                    "enabled": False,
                },
            },
        ),
        "iec62056-21": ProtocolProfile(
            groups={
                "values": (
                    "manufacturer",
                    "ident",
                    "0.0",
                    "1.20",
                    "1.20.1",
                    "1.20.2",
                    "1.31",
                    "1.26",
                    "1.6",
                    "1.6*1",
                )
            },
            detection=Detection(sources=("1.20",)),
        ),
    },
    note="A readout over IEC 61107 takes about 10 s. It holds the customer's number, not the"
    " meter's: the entities are named after the configured id.",
)
