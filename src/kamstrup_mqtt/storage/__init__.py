"""What outlives the process: the state file, the history queue and its spool."""
