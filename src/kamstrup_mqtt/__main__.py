"""`python -m kamstrup_mqtt` does what the command `kamstrup-mqtt` does."""

from __future__ import annotations

import sys

from kamstrup_mqtt.cli import main

if __name__ == "__main__":
    sys.exit(main())
