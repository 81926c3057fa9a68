"""Clients: they say the protocol's commands to a server, one conversation at a time.

Law: nothing in this package imports anything above it but ``beanrow.protocol``
and ``beanrow.errors``.
"""
