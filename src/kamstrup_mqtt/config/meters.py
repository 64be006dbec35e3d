"""The meters of a configuration: one model for each protocol, chosen by `protocol`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import partial
from typing import Annotated, Any, Final, TypeAlias

from pydantic import ValidationInfo
from pydantic_core import CoreSchema, core_schema

from kamstrup_mqtt.config import protocols
from kamstrup_mqtt.config.meter import Meter

PROTOCOLS: Final = tuple(
    module.name.replace("_", "-") for module in pkgutil.iter_modules(protocols.__path__)
)


def meter_class(protocol: str) -> type[Meter]:
    """Return the model of this protocol's meters.

    Its module is imported on demand, because a pydantic model takes memory and most daemons use
    one protocol.
    """
    module = importlib.import_module(f"{protocols.__name__}.{protocol.replace('-', '_')}")
    meter: type[Meter] = module.METER
    return meter


def _validate(protocol: str, raw: Any, info: ValidationInfo) -> Meter:
    return meter_class(protocol).model_validate(raw, context=info.context)


class _ByProtocol:
    """A tagged union that builds the models in use. pydantic's own union would build all."""

    @staticmethod
    def __get_pydantic_core_schema__(_source: object, _handler: object) -> CoreSchema:
        return core_schema.tagged_union_schema(
            {
                name: core_schema.with_info_plain_validator_function(partial(_validate, name))
                for name in PROTOCOLS
            },
            discriminator="protocol",
        )


MeterConfig: TypeAlias = Annotated[Meter, _ByProtocol]
