"""The program ``beanrow``, also ``python -m beanrow.cli``.

Law: without the extra ``cli`` it says in one line what to install. So nothing but the standard
library is imported before that is known.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

_INTERRUPTED = 130
_LIBRARIES = ("click", "rich")
_ADVICE = (
    "pip install 'beanrow[cli]' for the command line; 'python -m beanrow.server' serves without it"
)


def main() -> int:
    """Run the command that the arguments name; the exit status."""
    try:
        from beanrow.cli.program import run

        return run(sys.argv[1:])
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _LIBRARIES:
            raise
        sys.stderr.write(f"beanrow: needs {library}, which is not installed: {_ADVICE}\n")
        return 2
    except KeyboardInterrupt:
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
