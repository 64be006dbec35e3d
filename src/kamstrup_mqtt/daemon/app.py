"""The daemon: starts its components, runs until a signal ends it, and stops them in order.

A programming error in any task ends the process with its traceback. The supervisor restarts
readers after faults.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from kamstrup_mqtt.config import Config, with_models
from kamstrup_mqtt.core.clock import Clock
from kamstrup_mqtt.core.errors import ConfigError
from kamstrup_mqtt.daemon import factory
from kamstrup_mqtt.daemon.components import ComponentBuilder, Components, Surroundings
from kamstrup_mqtt.daemon.control_commands import ControlCommands
from kamstrup_mqtt.daemon.control_socket import ControlServer, control_address
from kamstrup_mqtt.daemon.shutdown import ExitReason, Shutdown, handle_signals
from kamstrup_mqtt.daemon.systemd import Notifier
from kamstrup_mqtt.daemon.timeouts import DaemonTimeouts
from kamstrup_mqtt.daemon.watchdog import start_exit_timer
from kamstrup_mqtt.links.base import Opener
from kamstrup_mqtt.links.open_link import open_link
from kamstrup_mqtt.mqtt import Connector, connect
from kamstrup_mqtt.reading.counters import Counters
from kamstrup_mqtt.storage import spool
from kamstrup_mqtt.storage.state_file import FILE, StateFile, detected_models, state_directory

__all__ = ["App", "DaemonTimeouts", "ExitReason"]

_LOG = logging.getLogger(__name__)


class App:
    """One run of the daemon.

    reload      reads the configuration again (raises ConfigError); None: SIGHUP ends the run
    exit_timer  ends the process after the given seconds unless it is called again
    open_link   opens the links to the meters
    connect     connects to the broker
    seed        makes random pauses and ids reproducible
    """

    def __init__(
        self,
        config: Config,
        *,
        reload: Callable[[], Config] | None = None,
        environ: Mapping[str, str] = os.environ,
        clock: Clock | None = None,
        timeouts: DaemonTimeouts | None = None,
        exit_timer: Callable[[float], None] | None = None,
        open_link: Opener = open_link,
        connect: Connector = connect,
        seed: str | None = None,
    ) -> None:
        self._config = config
        self._reload = reload
        self._surroundings = surroundings = Surroundings(
            environ=environ,
            clock=clock or Clock(),
            timeouts=timeouts or DaemonTimeouts(),
            open_link=open_link,
            connect=connect,
            seed=seed,
        )
        self._notifier = Notifier(environ)
        self._shutdown = Shutdown(exit_timer or start_exit_timer, surroundings.timeouts.stop)
        self._model_found = asyncio.Event()
        directory = Path(config.state_directory or state_directory(environ))
        self._state_file = StateFile(directory / FILE, surroundings.clock)
        self._history = factory.make_history(
            config.spool,
            directory / spool.FILE,
            surroundings.clock.monotonic,
            seed,
            surroundings.timeouts.history,
        )
        self._components: Components | None = None
        self._control_commands: ControlCommands | None = None

    async def run(self) -> ExitReason:
        """Run until a signal ends it. Raises ConfigError if another daemon has the state file."""
        self._state_file.open()
        try:
            self.build()
            await self._history.open()
            await self._run()
        finally:
            await self._history.close()
            self._state_file.close()
        return self._shutdown.reason or ExitReason.STOPPED

    def build(self) -> Components:
        """Make the components."""
        self._config = with_models(self._config, detected_models(self._state_file.meters))
        builder = ComponentBuilder(
            self._config,
            self._surroundings,
            self._state_file,
            self._history,
            on_model_found=self._on_model_found,
            kick=lambda: self._notifier.send(WATCHDOG="1"),
            exit_timer=self._shutdown.arm_watchdog,
        )
        self._components = components = builder.build()
        self._control_commands = ControlCommands(self._config, components)
        return components

    @property
    def components(self) -> Components:
        """The components of the daemon, after `build`."""
        assert self._components is not None
        return self._components

    @property
    def counters(self) -> Mapping[str, Counters]:
        """The counters of each meter's reader."""
        return {id_: reader.counters for id_, reader in self.components.readers.items()}

    def request_exit(self, reason: ExitReason) -> None:
        """Request the end of the run. The first request decides the reason."""
        self._shutdown.request(reason)

    def reload(self) -> None:
        """Restart with a new configuration if it is valid."""
        if self._reload is None:  # the terminal was closed
            return self.request_exit(ExitReason.STOPPED)
        try:
            self._reload()
        except ConfigError as error:
            for fault in error.faults:
                _LOG.error("%s", fault)
            _LOG.error("the new configuration is rejected; the running one stays in use")
        else:
            _LOG.info("the new configuration is valid: restarting with it")
            self.request_exit(ExitReason.RELOAD)

    async def _run(self) -> None:
        components, commands = self.components, self._control_commands
        assert commands is not None, "it was made with the components"
        environ = self._surroundings.environ
        address = control_address(environ, self._config.mqtt.instance, os.getuid())
        control = ControlServer(address, commands.handlers)
        await control.start()
        try:
            with handle_signals(self._shutdown, self.reload):
                await self._run_tasks(components, commands, control)
        finally:
            control.close()
            await _close_ports(components)

    async def _run_tasks(
        self, components: Components, commands: ControlCommands, control: ControlServer
    ) -> None:
        async with asyncio.TaskGroup() as group:
            readers = group.create_task(components.supervisor.run())
            publisher = group.create_task(components.publisher.run())
            helpers = [
                group.create_task(self._state_file.run()),
                group.create_task(control.run()),
                group.create_task(components.watchdog.run()),
                group.create_task(self._publish_status(commands)),
                group.create_task(components.clock_watch.run()),
                group.create_task(self._restart_with_detected_model(components)),
            ]
            self._notifier.send(READY="1", STATUS=commands.status_text())
            # the objects made so far live as long as the process: exclude them from collections
            gc.collect()
            gc.freeze()
            meters = _count_meters(len(components.readers))
            _LOG.info("%s: %s", self._config.mqtt.topics.root, meters)
            await self._shutdown.wait()
            self._notify_stopping()
            await _cancel([readers])
            # in parallel, because a port may close slowly
            group.create_task(_close_ports(components))
            components.publisher.stop(offline=self._shutdown.reason is not ExitReason.RELOAD)
            await asyncio.wait([publisher])
            await _cancel(helpers)

    def _on_model_found(self, model: str) -> None:
        _LOG.info("restarting to read the meter as a %s", model)
        self._model_found.set()

    async def _restart_with_detected_model(self, components: Components) -> None:
        """Restart once a model is detected and no poll is running.

        An interrupted poll counts: a battery meter would not be polled before its next interval.
        """
        await self._model_found.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._surroundings.timeouts.detection_grace):
                readers = components.readers.values()
                while busy := [reader for reader in readers if reader.is_polling]:
                    await busy[0].wait_until_idle()
        self.request_exit(ExitReason.RELOAD)

    async def _publish_status(self, commands: ControlCommands) -> None:
        """Keep the status line of the service manager up to date."""
        published = ""
        while True:
            status = commands.status_text()
            if status != published:
                published = status
                self._notifier.send(STATUS=status)
            await asyncio.sleep(self._surroundings.timeouts.status)

    def _notify_stopping(self) -> None:
        if self._shutdown.reason is ExitReason.RELOAD:
            now = int(self._surroundings.clock.monotonic() * 1_000_000)
            self._notifier.send(RELOADING="1", MONOTONIC_USEC=str(now))
        else:
            self._notifier.send(STOPPING="1")
            _LOG.info("stopping")


async def _close_ports(components: Components) -> None:
    await asyncio.gather(*(port.close() for port in components.ports.values()))


def _count_meters(count: int) -> str:
    return "1 meter" if count == 1 else f"{count} meters"


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
