"""The words that our server knows beyond the daemon, as ``capabilities`` names them.

Law: a word is stated here once; ``docs/protocol.md`` has the table, and a test ties the two.
"""

from __future__ import annotations

__all__ = ["AUTH", "CAPABILITIES", "LIST_JOBS", "PUT_IN_TUBE", "PUT_UNIQUE", "TRUNCATE"]

AUTH = "auth"
"""Known only where there are rights, and from the beginning of a connection."""
LIST_JOBS = "list-jobs"
PUT_IN_TUBE = "put-in-tube"
PUT_UNIQUE = "put-unique"
TRUNCATE = "truncate"

CAPABILITIES = frozenset({LIST_JOBS, PUT_IN_TUBE, PUT_UNIQUE, TRUNCATE})
"""What a connection can switch on."""
