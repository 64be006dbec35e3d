"""Checks that the phases of a list add up to its totals.

In every recorded "DLMS push 1" the powers of the phases, import minus export, add up to the total
within 6 W, and their registers to the total register within 2 counts. The meter nets its totals
across the phases, so only the differences agree, not the sums. Source: measured over the recorded
lists; OMNIPOWER HAN interface specification 5512-2584 B1 (order of the list).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

WATTS: Final = 10
COUNTS: Final = 3
"""Accepted differences: a little more than in any recording."""


def check_phases(counts: Mapping[str, int]) -> str | None:
    """Describe what does not add up. None if everything does, or if nothing can be compared.

    counts  OBIS code without A, B and F ("1.7.0") -> count as sent
    """
    for quantity, limit, what in (("7.0", WATTS, "powers"), ("8.0", COUNTS, "registers")):
        phases = [
            counts[f"{imported}.{quantity}"] - counts[f"{imported + 1}.{quantity}"]
            for imported in (21, 41, 61)
            if f"{imported}.{quantity}" in counts and f"{imported + 1}.{quantity}" in counts
        ]
        if not phases or f"1.{quantity}" not in counts:
            continue
        total = counts[f"1.{quantity}"] - counts.get(f"2.{quantity}", 0)
        if abs(sum(phases) - total) > limit:
            return f"the {what} of the phases make {sum(phases)}, the total is {total}"
    return None
