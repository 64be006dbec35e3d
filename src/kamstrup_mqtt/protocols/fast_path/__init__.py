"""Faster decoding of messages whose layout is known from an earlier message.

Everything here is optional: a codec made with `fast_path=False` uses its reference parser alone
and decodes the same. See docs/fast-path.md.
"""
