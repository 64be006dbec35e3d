"""Data that is kept between runs: the state file, the history queue and its spool."""
