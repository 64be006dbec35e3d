"""The part of a scan that reads the registers of a KMP meter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from kamstrup_mqtt.core.errors import MeterError
from kamstrup_mqtt.core.model import DecodedValue, SerialParams
from kamstrup_mqtt.protocols.base import PolledCodec, PollRequest, PollResponse
from kamstrup_mqtt.reading.commissioning.scan_candidates import ALL_REGISTERS, listed_registers
from kamstrup_mqtt.reading.commissioning.scan_file import ScanFile
from kamstrup_mqtt.reading.commissioning.scan_finding import (
    ScanFinding,
    ScanProgress,
    ScanStep,
)
from kamstrup_mqtt.reading.conversation import ConversationRunner

BATCH = 8
"""Registers in one request."""
RETRY_PAUSE = 1.6
"""Seconds for which a KMP meter ignores everything after a request that it did not understand."""
RESPONSE_SECONDS = 0.35
"""Seconds until a meter begins to respond, for the estimate."""
STOP_MESSAGE = "time limit reached; stopped to spare the meter's battery"


class RegisterScan:
    """Reads registers in batches into the objects of `finding`."""

    def __init__(
        self,
        runner: ConversationRunner,
        codec: PolledCodec,
        finding: ScanFinding,
        report: Callable[[ScanProgress], None],
        pause: float,
    ) -> None:
        self._runner = runner
        self._codec = codec
        self._finding = finding
        self._report = report
        self._pause = pause
        self._done = 0

    async def run(self, deadline: float, scan_file: ScanFile | None) -> None:
        """Read until `deadline` (loop time): all registers with a file, the listed ones without.

        The file keeps the progress in any case. Raises MeterError or LinkError if the meter stops
        answering, and ConfigError if the file cannot be used.
        """
        if scan_file is None:
            known = self._finding.objects
            registers = [n for n in listed_registers() if n not in known]
            await self._read(registers, deadline, STOP_MESSAGE)
            return
        start, answered = scan_file.load()
        for number in answered:
            self._finding.objects.setdefault(number, DecodedValue(number, None, None))
        self._announce(ALL_REGISTERS - start, deadline)
        try:
            message = f"{STOP_MESSAGE}; another scan continues from here"
            await self._read(range(start, ALL_REGISTERS), deadline, message)
        finally:
            scan_file.save(start + self._done, self._finding.objects)
            self._report(ScanProgress(ScanStep.SAVE, f"saved in {scan_file.path}"))

    async def _read(self, registers: Sequence[int], deadline: float, stop_message: str) -> None:
        clock = asyncio.get_running_loop().time
        for start in range(0, len(registers), BATCH):
            if start and clock() > deadline:  # never before the first batch
                self._report(ScanProgress(ScanStep.STOP, stop_message))
                return
            batch = registers[start : start + BATCH]
            response = await self._request(PollRequest(sources=tuple(batch)))
            self._finding.objects.update({obj.id: obj for obj in response.objects})
            self._done += len(batch)
            self._report(
                ScanProgress(
                    ScanStep.READ_REGISTERS,
                    done=self._done,
                    total=len(registers),
                    answered=len(self._finding.objects),
                )
            )
            await asyncio.sleep(self._pause)

    async def _request(self, request: PollRequest) -> PollResponse:
        """Poll, and once more if the meter does not answer. Raises MeterError after that."""
        try:
            return await self._runner.run(self._codec.poll(request))
        except MeterError:
            await asyncio.sleep(RETRY_PAUSE)
            return await self._runner.run(self._codec.poll(request))

    def _announce(self, count: int, deadline: float) -> None:
        hours = estimate_hours(count, self._finding.params, self._pause)
        minutes = (deadline - asyncio.get_running_loop().time()) / 60
        message = (
            f"{count} registers are left: about {hours:.1f} hours in all, of which at most"
            f" {minutes:.3g} min now; another scan continues where this one ends"
        )
        self._report(ScanProgress(ScanStep.READ_REGISTERS, message, total=count))


def estimate_hours(registers: int, params: SerialParams, pause: float) -> float:
    """Hours to ask for this many registers if the meter has hardly any of them."""
    bits = 1 + params.bytesize + (params.parity != "N") + params.stopbits
    request_bytes, response_bytes = 25, 10
    wire_seconds = (request_bytes + response_bytes) * bits / params.baudrate
    batches = -(-registers // BATCH)
    return batches * (wire_seconds + RESPONSE_SECONDS + pause) / 3600
