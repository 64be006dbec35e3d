"""Row 2: a KMP answer with eight registers decoded, against PyKMP."""

from __future__ import annotations

from bench import frames
from bench.measure import Result, against


def run() -> list[Result]:
    what = "KMP answer, 8 registers"
    return against(2, "kmp", what, frames.kmp_answers(), [("pykmp", "PyKMP", 12.0)])
