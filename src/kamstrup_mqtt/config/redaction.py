"""The configuration as it may be shown to others: secrets and hosts masked.

Masked are passwords, keys, the broker's user name, whatever came from the environment, and host
names and addresses but those of this machine. Equal hosts stay equal: host-1, host-2. Device paths,
names and numbers stay.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from kamstrup_mqtt.config import Config
from kamstrup_mqtt.links.address import TcpBridge

MASK = "********"
_PYDANTICS = str(SecretStr("any"))
_SHORTEST = 3
"""A shorter text stands in half of all words."""


class Redaction:
    """Masks what belongs to one configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config
        secrets = {secret: MASK for secret in config.secrets() if len(secret) >= _SHORTEST}
        words = {
            value: written
            for value, written in config.from_environment.items()
            if len(value) >= _SHORTEST
        }
        words.update(self._hosts())
        if config.mqtt.username and len(config.mqtt.username) >= _SHORTEST:
            self._user = {config.mqtt.username: MASK}
        else:
            self._user = {}
        self._secrets = secrets
        self._words = {word: mask for word, mask in words.items() if word not in secrets}

    def _hosts(self) -> dict[str, str]:
        named = [self._config.mqtt.host]
        named += [m.port.host for m in self._config.meters if isinstance(m.port, TcpBridge)]
        foreign = [host for host in dict.fromkeys(named) if not _local_names(host)]
        return {host: f"host-{number}" for number, host in enumerate(foreign, 1)}

    def text(self, text: str) -> str:
        """A message of the program, masked."""
        return self._masked(text, {**self._words, **self._user})

    def tree(self, value: Any) -> Any:
        """JSON, every text in it masked as a message."""
        return _map_values(value, self.text)

    def config(self) -> dict[str, Any]:
        """What the user wrote."""
        whole = self._config.model_dump(mode="json", exclude_unset=True)
        mqtt = whole.setdefault("mqtt", {})
        for name in ("username", "password"):
            if getattr(self._config.mqtt, name) is not None:
                mqtt[name] = MASK
        whole["meters"] = [
            {**entry, "id": meter.id}
            for entry, meter in zip(whole["meters"], self._config.meters, strict=True)
        ]
        masked: dict[str, Any] = _map_values(
            whole, lambda text: MASK if text == _PYDANTICS else self._masked(text, self._words)
        )
        return masked

    def _masked(self, text: str, words: Mapping[str, str]) -> str:
        # the longest first: one that contains another must not leave its tail behind
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, MASK)
        for word in sorted(words, key=len, reverse=True):
            # whole words: a user called `kamstrup` is in half of all names here
            text = re.sub(
                rf"(?<![\w-]){re.escape(word)}(?![\w-])", words[word].replace("\\", r"\\"), text
            )
        return text


def _map_values(value: Any, mask: Any) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {key: _map_values(item, mask) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map_values(item, mask) for item in value]
    return value


def _local_names(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
