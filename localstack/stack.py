#!/usr/bin/env python3
"""LocalStack and Postgres for development and tests: `stack.py --help` tells the commands."""

import sys

# Before the package is imported: its syntax may be newer than this interpreter.
if sys.version_info < (3, 11):  # noqa: UP036
    found = ".".join(str(part) for part in sys.version_info[:3])
    sys.exit(
        f"stack: python3 is {found}, but 3.11 or newer is needed.\n"
        "  Fix: install it (Debian and Ubuntu: apt-get install python3.11 python3.11-venv;\n"
        "  macOS: brew install python@3.13) and run: python3.11 localstack/stack.py …"
    )

from stack.cli import main

if __name__ == "__main__":
    sys.exit(main())
