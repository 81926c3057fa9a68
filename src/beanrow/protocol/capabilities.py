"""The words that our server knows beyond the daemon, as ``capabilities`` names them.

Law: a word is stated here once; ``docs/protocol.md`` has the table, and a test ties the two.
"""

from __future__ import annotations

__all__ = [
    "AUTH",
    "CAPABILITIES",
    "CLIENT_NAME",
    "JOBS_WITH_TUBE",
    "LIST_CLIENTS",
    "LIST_JOBS",
    "LIST_LEASES",
    "LIST_SLOW",
    "LIST_TIMES",
    "MORE_STATS",
    "PUT_IN_TUBE",
    "PUT_UNIQUE",
    "RESUME",
    "SESSION",
    "TRUNCATE",
]

AUTH = "auth"
"""Known only where there are rights, and from the beginning of a connection."""
CLIENT_NAME = "client-name"
JOBS_WITH_TUBE = "jobs-with-tube"
"""No request of its own: RESERVED and FOUND tell the job's tube."""
LIST_CLIENTS = "list-clients"
LIST_JOBS = "list-jobs"
LIST_LEASES = "list-leases"
LIST_SLOW = "list-slow"
LIST_TIMES = "list-times"
MORE_STATS = "more-stats"
"""No request of its own: ``stats`` and ``stats-tube`` have keys that the daemon's have not."""
PUT_IN_TUBE = "put-in-tube"
PUT_UNIQUE = "put-unique"
RESUME = "resume"
SESSION = "session"
TRUNCATE = "truncate"

CAPABILITIES = frozenset(
    {
        CLIENT_NAME,
        JOBS_WITH_TUBE,
        LIST_CLIENTS,
        LIST_JOBS,
        LIST_LEASES,
        LIST_SLOW,
        LIST_TIMES,
        MORE_STATS,
        PUT_IN_TUBE,
        PUT_UNIQUE,
        RESUME,
        SESSION,
        TRUNCATE,
    }
)
"""What a connection can switch on."""
