"""Names of topics and ids (docs/topics.md)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one daemon: `<base>/<instance>/...`."""

    base: str = "kamstrup"
    instance: str = "main"

    @property
    def root(self) -> str:
        return f"{self.base}/{self.instance}"

    @property
    def bridge_status(self) -> str:
        return f"{self.root}/bridge/status"

    @property
    def bridge_info(self) -> str:
        return f"{self.root}/bridge/info"

    def status(self, meter: str) -> str:
        return f"{self.root}/{meter}/status"

    def state(self, meter: str, group: str) -> str:
        return f"{self.root}/{meter}/state/{group}"

    def diagnostics(self, meter: str) -> str:
        return f"{self.root}/{meter}/diagnostics"

    def history(self, meter: str) -> str:
        return f"{self.root}/{meter}/history"

    def read(self, meter: str) -> str:
        return f"{self.root}/{meter}/read"

    @property
    def client_id(self) -> str:
        return f"kamstrup-mqtt-{self.base}-{self.instance}".replace("/", "-")

    def discovery(self, prefix: str, meter: str) -> str:
        """Return the discovery topic of a meter, or of the gateway if `meter` is "bridge"."""
        return f"{prefix}/device/{self.object_id(meter)}/config"

    def object_id(self, meter: str) -> str:
        return f"kamstrup_{self.instance}_{meter}"


def slug(text: str) -> str:
    """Convert `text` to an id of at most 32 characters of [a-z0-9_-]."""
    transcribed = text.lower().translate(
        {ord("æ"): "ae", ord("ø"): "o", ord("å"): "a", ord("ß"): "ss"}
    )
    plain = unicodedata.normalize("NFKD", transcribed).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9_-]+", "_", plain).strip("_-")[:32].strip("_-")


@lru_cache(maxsize=4096)
def to_id_part(text: str) -> str:
    """Convert text from a meter to a part of a unique id, [A-Za-z0-9_-] only."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_")
