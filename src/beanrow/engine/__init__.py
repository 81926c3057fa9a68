"""The queue itself: a pure state machine over jobs, tubes and sessions.

Law: nothing in this package knows a socket, a clock, a thread or a random source.
Time is passed in, as nanoseconds that never step back.
"""
