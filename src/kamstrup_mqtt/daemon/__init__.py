"""The daemon: composition root, signals, supervision, watchdog, control socket, diagnostics."""
