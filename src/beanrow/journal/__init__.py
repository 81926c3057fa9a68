"""The journal: what a server has promised survives it. ``docs/journal.md`` tells the format.

Law: nothing here knows a socket. The disk is behind ``disk.Disk``, time is passed in.
"""
