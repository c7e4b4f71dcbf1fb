"""The stand-in: a switch and a madre that hold a small talk and break on command.

Rule of this room: it imports the standard library and its own modules, nothing
else (but for `model`, a program that runs a real one), and nobody imports it but the
tests and the launcher. What it serves are real
HTTP servers on real sockets, because most faults of an upstream live below HTTP.
"""
