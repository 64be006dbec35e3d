"""Options of the meters of each protocol: one module a protocol, found by its name.

`kamstrup_mqtt.config.protocols.<protocol>` has `METER`, a subclass of `config.meter.Meter`, with
`_` for `-` in the protocol's name.
"""
