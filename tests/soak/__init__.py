"""The daemon for hours, at many times real speed, with faults by chance: `make soak HOURS=24`."""
