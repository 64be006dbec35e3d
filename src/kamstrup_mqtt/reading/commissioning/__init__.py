"""Engines of `scan`, `align`, `listen` and `capture`. They report typed results and print nothing.

An engine is stopped by cancelling its `run`, for example with `asyncio.timeout`. The port is
closed when `run` returns or raises.
"""
