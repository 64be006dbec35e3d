"""The meters of a configuration: one class for each protocol, told apart by `protocol`."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final, TypeAlias

from pydantic import ValidationInfo
from pydantic_core import CoreSchema, core_schema

from kamstrup_mqtt.config.han import HanMeter
from kamstrup_mqtt.config.meter import Meter

PROTOCOLS: Final = ("kmp", "kmp-ascii", "iec62056-21", "multical-66", HanMeter.protocol_name)


def meter_class(protocol: str) -> type[Meter]:
    """What a meter of this protocol has in the configuration."""
    if protocol == HanMeter.protocol_name:
        return HanMeter
    # a daemon that only listens does without the meters that are asked, which are large
    from kamstrup_mqtt.config.polled import POLLED

    return POLLED[protocol]


def _validated(protocol: str, raw: Any, info: ValidationInfo) -> Meter:
    return meter_class(protocol).model_validate(raw, context=info.context)


class _ByProtocol:
    """pydantic's union of the classes would build all of them; this one builds what is met."""

    @staticmethod
    def __get_pydantic_core_schema__(_source: object, _handler: object) -> CoreSchema:
        return core_schema.tagged_union_schema(
            {
                name: core_schema.with_info_plain_validator_function(partial(_validated, name))
                for name in PROTOCOLS
            },
            discriminator="protocol",
        )


MeterConfig: TypeAlias = Annotated[Meter, _ByProtocol]
