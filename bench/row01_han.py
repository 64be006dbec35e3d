"""Row 1: HAN lists decoded, frames per second against amshan, dlms-cosem and gurux-dlms."""

from __future__ import annotations

from bench import frames
from bench.measure import Result, against

PEERS = (("amshan", "amshan", 60.0), ("dlms_cosem", "dlms-cosem", 25.0), ("gurux", "gurux", 15.0))


def run() -> list[Result]:
    live = against(1, "han", "HAN list, 228 B", frames.han_variants(frames.LIVE), PEERS)
    hourly = against(1, "han", "HAN hourly list, 302 B", frames.han_variants(frames.HOURLY), PEERS)
    return live + hourly
