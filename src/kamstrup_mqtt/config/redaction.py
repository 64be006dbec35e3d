"""Masks secrets and hosts in a configuration, so that it can be shown to others.

Masked are passwords, keys, the user name at the broker, texts from the environment, and the names
and addresses of other hosts. Equal hosts stay equal: host-1, host-2. Device paths, names and
numbers stay.
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
_PYDANTIC_MASK = str(SecretStr("any"))
_MIN_LENGTH = 3
"""Characters of the shortest text that is masked: a shorter one is part of too many words."""


class Redaction:
    """Masks the secrets and hosts of one configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config
        secrets = {secret: MASK for secret in config.secrets() if len(secret) >= _MIN_LENGTH}
        words = {
            value: written
            for value, written in config.from_environment.items()
            if len(value) >= _MIN_LENGTH
        }
        words.update(self._hosts())
        if config.mqtt.username and len(config.mqtt.username) >= _MIN_LENGTH:
            self._user = {config.mqtt.username: MASK}
        else:
            self._user = {}
        self._secrets = secrets
        self._words = {word: mask for word, mask in words.items() if word not in secrets}

    def _hosts(self) -> dict[str, str]:
        named = [self._config.mqtt.host]
        named += [m.port.host for m in self._config.meters if isinstance(m.port, TcpBridge)]
        foreign = [host for host in dict.fromkeys(named) if not _is_local(host)]
        return {host: f"host-{number}" for number, host in enumerate(foreign, 1)}

    def text(self, text: str) -> str:
        """Return a message of the program, masked."""
        return self._mask(text, {**self._words, **self._user})

    def tree(self, value: Any) -> Any:
        """Return JSON with every text in it masked like a message."""
        return _map_values(value, self.text)

    def config(self) -> dict[str, Any]:
        """Return the configuration as the user wrote it, masked."""
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
            whole, lambda text: MASK if text == _PYDANTIC_MASK else self._mask(text, self._words)
        )
        return masked

    def _mask(self, text: str, words: Mapping[str, str]) -> str:
        # longest first: a secret that contains another must not leave its tail behind
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, MASK)
        for word in sorted(words, key=len, reverse=True):
            # whole words: a user named `kamstrup` is part of many names
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


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
