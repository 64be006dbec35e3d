"""Decoders of other projects, in their own environment; only these modules import them.

Each is a process started with `python -m bench.peers.<name>`; see `bench.worker`.
"""
