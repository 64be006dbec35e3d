"""The option `--instance` of commands that work on another mqtt.instance than the daemon's."""

from __future__ import annotations

from kamstrup_mqtt.config import Config, MqttConfig
from kamstrup_mqtt.core.errors import ConfigError


def with_instance(config: Config, instance: str) -> Config:
    """The configuration with another mqtt.instance, and so with another MQTT client id.

    Raises ConfigError for an invalid name.
    """
    try:
        mqtt = MqttConfig.model_validate({"instance": instance})
    except ValueError:
        raise ConfigError(
            "--instance: must have 1 to 32 characters of A-Z, a-z, 0-9, _ and -"
        ) from None
    update = {"instance": mqtt.instance, "client_id": None}
    return config.model_copy(update={"mqtt": config.mqtt.model_copy(update=update)})
