"""The server: the engine over sockets. ``python -m beanrow.server`` runs it."""
