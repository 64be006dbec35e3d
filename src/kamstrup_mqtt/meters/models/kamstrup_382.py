"""Kamstrup 382J, 382L and 382M, three-phase electricity meters read over KMP.

The line is 9600 8N1; the first meters of this family answered at 1200 (`baudrate: 1200`). The
number of decimals differs from meter to meter and is taken from the frame.
"""

from kamstrup_mqtt.core.model import SerialParams
from kamstrup_mqtt.meters.model import Detection, MeterModel, ProtocolProfile

# fmt: off
_MORE = (
    13, 14, 3, 4, 15, 16, 5, 6, 20, 21, 22, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 1059,
    1060, 1061, 1062, 1063, 1064, 1065, 1066, 1067, 1068, 1069, 1070, 1071, 1072, 1073, 1074,
    1025, 1026, 1080, 1081, 1082, 1344, 1345, 1346, 1170, 1171, 1172, 1173, 1215, 1216, 1217,
    1218, 1219, 1220, 39, 40, 41, 42, 43, 44, 45, 46, 47, 1033, 1036, 1190, 1191, 1049, 1050,
    1051, 1196, 1197, 1198, 1199, 1200, 1201, 51, 52, 53, 1001, 1010, 1058, 1126, 50, 1005,
    1003, 1002, 1047, 1045, 1004, 58, 1039, 1040, 1087, 1088, 2010, 1079, 1271,
)
# fmt: on

MODEL = MeterModel(
    name="382J, 382L, 382M",
    medium="electricity",
    profiles={
        "kmp": ProtocolProfile(
            groups={"values": (1, 1023, 1054, 1055, 1056, 1076, 1077, 1078, 2, 1024, 19, 23)},
            more=_MORE,
            identity=("serial_no", 1001),
            # GetType 35, 37, 3E, 3F, 44, 45, and any other that no file names (AIMIR KmpUtils)
            detection=Detection(any_of=(1, 1023), none_of=(60,), also_read=(1126,)),
            serial=SerialParams(baudrate=9600, bytesize=8, parity="N", stopbits=1),
            overrides={
                14: {"name": "Energy export high resolution"},
                39: {"name": "Highest power import"},
                40: {"name": "Highest power export"},
                47: {"name": "Debiting periods"},
                50: {"name": "Meter status"},
                58: {"name": "Pulse input"},
                1087: {"name": "Connection status"},
                2010: {"name": "Active tariff"},
            },
        ),
    },
)
