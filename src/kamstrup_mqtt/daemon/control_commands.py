"""The commands of the control socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from kamstrup_mqtt.config import Config
from kamstrup_mqtt.core.clock import rfc3339
from kamstrup_mqtt.core.errors import KamstrupMqttError
from kamstrup_mqtt.daemon.components import Components
from kamstrup_mqtt.daemon.control_socket import Handler


class ControlCommands:
    """Handles the commands. Each handler returns its response or raises KamstrupMqttError."""

    def __init__(self, config: Config, components: Components) -> None:
        self._config = config
        self._components = components
        self._started = components.clock.monotonic()

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """Handlers by command."""
        return {
            "health": self._health,
            "read": self._read,
            "accept": self._accept,
            "dump": self._dump,
        }

    def status_text(self) -> str:
        """Return one line such as: 3 of 4 meters online, broker connected."""
        online = self._components.publisher.online.values()
        return f"{sum(online)} of {len(online)} meters online, broker {self._broker}"

    @property
    def _broker(self) -> str:
        return "connected" if self._components.publisher.is_connected else "away"

    def _health(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        running = self._components
        online = running.publisher.online
        return {
            "healthy": running.watchdog.is_healthy,
            "fed": round(running.watchdog.seconds_since_kick, 1),
            "status": self.status_text(),
            "broker": self._broker,
            "tasks": len(asyncio.all_tasks()),
            "history": running.history.info(),
            "meters": {
                id_: {
                    "online": online[id_],
                    "link_state": device.link_state and device.link_state.value,
                    "last_reading": rfc3339(device.last_reading),
                    "last_error": device.last_error,
                }
                for id_, device in running.devices.items()
            },
        }

    def _requested_meter(self, request: Mapping[str, Any]) -> str:
        """Return the id of the requested meter. Raises KamstrupMqttError if it is unknown."""
        meter = str(request.get("meter"))
        if meter not in self._components.readers:
            known = ", ".join(self._components.readers)
            raise KamstrupMqttError(f"no meter {meter}; there are {known}")
        return meter

    def _accept(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            "accepted": list(self._components.readers[self._requested_meter(request)].accept_held())
        }

    def _read(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        meter = self._requested_meter(request)
        reason = self._components.readers[meter].request_read()
        if reason is not None:
            raise KamstrupMqttError(f"{meter}: {reason}")
        return {}

    def _dump(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the diagnostics for a bug report, without secrets."""
        from kamstrup_mqtt.daemon import diagnostics  # loaded on demand: rarely used

        running = self._components
        now = running.clock.monotonic()
        info = {
            **diagnostics.program_info(),
            "uptime_s": round(now - self._started),
            **self._health(request),
            "meters": {
                id_: diagnostics.meter_info(
                    device,
                    running.readers[id_].state,
                    running.readers[id_].counters,
                    running.publisher.online[id_],
                    running.clock,
                )
                for id_, device in running.devices.items()
            },
        }
        return diagnostics.redact(info, self._config)
