"""Readouts as on the wire."""

IDENT = b"/KAM 685-382-OK-15\r\n"
OFFICIAL = (
    IDENT
    + b"\x020.0(00054042)\r\n1.20(0000053*kWh)\r\n1.20.1(0000033*kWh)\r\n1.20.2(0000020*kWh)\r\n"
    b"1.31(0000482*h)\r\n1.26(0000000)\r\n1.6(000018,3*kW)\r\n1.6*1(000000,0)!\r\n\x03\x3e"
)
"""The printed example [Kamstrup 382 interface specification 040611/SPH p. 3], ends in '>'."""

SEED = (
    b"/KAM 685-382-OK-10\r\n"
    b"\x020.0(10865272)\r\n1.20(0009032*kWh)\r\n1.20.1(0009031*kWh)\r\n1.20.2(0000001*kWh)\r\n"
    b"1.31(0057392*h)\r\n1.26(0000000)\r\n1.6(000001,5*kW)\r\n1.6*1(000002,8)!\r\n\x03\x6a"
)
"""The values of the seed [KMP382-driver, README]; check character as iec62056_21.md 4 gives it."""

OFFICIAL_7E1 = bytes.fromhex(
    "af4b414da036b8352d33b8b22dcf4b2db1358d0a82302e302830303035b430b4b2a98d0ab12eb230283030303030"
    "3533aaebd7e8a98d0ab12eb2302eb12830303030303333aaebd7e8a98d0ab12eb2302eb2283030303030b230aaeb"
    "d7e8a98d0ab12e33b12830303030b4b8b2aae8a98d0ab12eb2362830303030303030a98d0ab12e36283030303"
    "0b1b8ac33aaebd7a98d0ab12e36aab128303030303030ac30a9218d0a03be"
)
"""OFFICIAL with even parity in bit 7 (iec62056_21.md 6)."""

ISKRA = b"/ISk5ME172-0000\r\n\x021.8.0(0014830.986*kWh)\r\n1.8.1(0005515.448*kWh)\r\n!\r\n\x03\x21"
"""A meter of mode C, with the standard's XOR."""

TWO_SETS = b"\x023:14(314*kWh)4:15(415*kWh)\r\n!\r\n\x03\x22"
ANSWER = b"\x023:171.0(0)\x03\x12"
BREAK = b"\x01B0\x03\x71"
MODE_D = b"/XYZ3D-METER\r\n\r\n1.8.0(000123.4*kWh)\r\n!\r\n"
P1 = b"/KAM5\r\n\r\n0-0:1.0.0(211115100940W)\r\n1-0:1.8.0(00000003.997*kWh)\r\n!"
"""Without its CRC, which the test computes."""
SIGN_ON = b"/?!\r\n"
ACK_050 = b"\x06050\r\n"
