"""Finds out what is on a port: protocol, line settings, model, serial number, registers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.links.address import PortAddress
from kamstrup_mqtt.links.base import Link, Opener
from kamstrup_mqtt.links.open_link import OPEN_TIMEOUT, open_link
from kamstrup_mqtt.meters import detection
from kamstrup_mqtt.protocols.base import PolledCodec, PollRequest, PollResponse
from kamstrup_mqtt.reading.commissioning.passive_listener import PassiveListener
from kamstrup_mqtt.reading.commissioning.register_scan import RegisterScan
from kamstrup_mqtt.reading.commissioning.scan_candidates import Candidate, polled_candidates
from kamstrup_mqtt.reading.commissioning.scan_file import ScanFile
from kamstrup_mqtt.reading.commissioning.scan_finding import (
    ScanFinding,
    ScanProgress,
    ScanStep,
    finding_from_response,
)
from kamstrup_mqtt.reading.conversation import ConversationRunner
from kamstrup_mqtt.reading.counters import Counters

LISTEN_SECONDS = 60.0
"""Limit for listening for a meter that sends by itself."""
AWAKE_SECONDS = 20 * 60.0
"""Limit for keeping the eye of a battery meter awake."""
PAUSE = 0.5
"""Seconds between two requests, so that the meter gets to its other tasks."""

_log = logging.getLogger("kamstrup_mqtt.scan")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOptions:
    """How a port is scanned; times in seconds.

    listen            limit for listening for a meter that sends by itself; 0: do not listen
    awake             from the start of the scan until no more registers are asked for, to spare
                      a battery
    pause             between two requests
    response_timeout  until a response must begin; None: the protocol's default
    file_directory    ask a KMP meter for all 65,536 registers, and keep the progress in this
                      directory, in a file named after the serial number ...
    file              ... or in this file
    """

    listen: float = LISTEN_SECONDS
    awake: float = AWAKE_SECONDS
    pause: float = PAUSE
    response_timeout: float | None = None
    file_directory: Path | None = None
    file: Path | None = None

    def scan_file(self, serial: str | None) -> ScanFile | None:
        """The file for the progress of a scan of all registers; None: only listed registers."""
        if self.file is not None:
            return ScanFile(self.file)
        if self.file_directory is None:
            return None
        return ScanFile(self.file_directory / f"scan-{serial or 'unknown'}.json")


class Scan:
    """One scan of one port. `finding` is the result so far, also after `run` has raised."""

    def __init__(
        self,
        address: PortAddress,
        options: ScanOptions,
        report: Callable[[ScanProgress], None],
        *,
        opener: Opener = open_link,
    ) -> None:
        self.finding: ScanFinding | None = None
        self._address = address
        self._options = options
        self._report = report
        self._opener = opener

    async def run(self) -> ScanFinding | None:
        """Listen, then try the polled protocols, then listen again. None: no meter was found.

        Raises LinkError if the port fails, MeterError if the meter stops answering, and
        ConfigError if the file with the progress cannot be used.
        """
        deadline = asyncio.get_running_loop().time() + self._options.awake
        listener = PassiveListener(
            self._address, self._options.listen, self._report, opener=self._opener
        )
        self.finding = await listener.listen_first()
        if self.finding is None and not await self._try_polled(deadline):
            self.finding = await listener.listen_to_the_end()
        return self.finding

    async def _try_polled(self, deadline: float) -> bool:
        """Try the candidates in order. True if a meter answered."""
        for candidate in polled_candidates(self._address):
            self._report_step(ScanStep.TRY, f"trying {candidate.protocol} at {candidate.line} ...")
            link = await self._opener(self._address, candidate.params, open_timeout=OPEN_TIMEOUT)
            try:
                if await self._try(candidate, link, deadline):
                    return True
            finally:
                await link.close()
        return False

    async def _try(self, candidate: Candidate, link: Link, deadline: float) -> bool:
        assert candidate.spec.timings is not None, "a polled protocol has timings"
        timings = replace(candidate.spec.timings, tries=2)
        if self._options.response_timeout is not None:
            timings = replace(timings, response_timeout=self._options.response_timeout)
        options = {**candidate.options, "timings": timings}
        codec = cast(PolledCodec, candidate.spec.make_codec(**options))
        runner = ConversationRunner(link, codec.framer(), Counters(), _log)
        is_kmp = candidate.protocol == "kmp"
        try:
            if is_kmp:
                response = await self._identify_kmp(runner, codec)
            else:
                response = await runner.run(codec.poll(PollRequest(sources=candidate.sources)))
        except MeterError as error:
            _log.debug("%s", error)
            return False
        self.finding = finding_from_response(candidate, response.objects)
        if is_kmp:
            scan_file = self._options.scan_file(self.finding.serial)
            scan = RegisterScan(runner, codec, self.finding, self._report, self._options.pause)
            await scan.run(deadline, scan_file)
        return True

    async def _identify_kmp(self, runner: ConversationRunner, codec: PolledCodec) -> PollResponse:
        """Ask for the serial number, then for the registers that tell the models apart."""
        await runner.run(codec.poll(PollRequest(sources=(), identity=("serial_no",))))
        self._report_step(ScanStep.IDENTIFY, "a KMP meter answers; identifying the model ...")
        request = PollRequest(sources=detection.detection_registers(), identity=("serial_no", 1001))
        return await runner.run(codec.poll(request))

    def _report_step(self, step: ScanStep, message: str) -> None:
        self._report(ScanProgress(step, message))
