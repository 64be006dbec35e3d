"""Sans-IO protocols: bytes <-> frames <-> objects. No asyncio, port, clock, log or chance here.

One folder a protocol; each has a `SPEC: ProtocolSpec`, which `registry` finds.
"""
