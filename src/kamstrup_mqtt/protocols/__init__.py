"""Sans-IO protocols: bytes <-> frames <-> decoded values. No asyncio, port, clock, log or random.

Each protocol is a package with a `SPEC: ProtocolSpec`, which `meters.registry` finds.
`fast_path` holds what makes decoding faster; it can be switched off.
"""
