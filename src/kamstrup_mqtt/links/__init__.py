"""Byte streams to a meter: a serial port or a TCP bridge. The only owner of serial and termios."""
