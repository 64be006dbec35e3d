"""Model types, errors, clock, exact decimals, topics, report queue, back-off, threads and text."""
