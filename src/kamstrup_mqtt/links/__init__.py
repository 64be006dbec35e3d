"""Byte streams to a meter: a serial port or a TCP bridge. Owns pyserial and termios."""
