"""Model types, errors, clock, exact decimals and JSON, topics, the report queue."""
