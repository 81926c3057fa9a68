"""Observers of a worker: each a ``Middleware`` for an app, and an extra of its own."""
