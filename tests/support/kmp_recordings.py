"""KMP requests and responses as recorded on a line."""

from __future__ import annotations

# register 1002, the time of day
CLOCK_REQUEST = bytes.fromhex("803F1001 03EA 4CB7 0D")
CLOCK_RESPONSE = bytes.fromhex("403F10 03EA 2F0400 0003 0E33 B232 0D")
# GetSerialNo: 123456; 40 is sent as 1B BF
SERIAL_REQUEST = bytes.fromhex("803F02 35E9 0D")
SERIAL_RESPONSE = bytes.fromhex("403F02 0001E21BBF A728 0D")
# GetType
TYPE_REQUEST = bytes.fromhex("803F01 058A 0D")
TYPE_RESPONSE = bytes.fromhex("403F01 00010701 FE58 0D")
