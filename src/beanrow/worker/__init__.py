"""The worker: functions as tasks, run by threads, processes or asyncio tasks.

Law: nothing in this package imports anything above it but ``beanrow.client``,
``beanrow.protocol`` and ``beanrow.errors``.
"""
