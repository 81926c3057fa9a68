"""Bytes to values and back: every command of protocol 1.13, for both ends of the line.

Law: nothing in this package knows a socket, a clock, a thread or a random source.
"""
