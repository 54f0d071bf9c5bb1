"""What a stack is to consist of."""

from __future__ import annotations

from dataclasses import dataclass

POSTGRES_VERSIONS = (15, 16, 18)


@dataclass(frozen=True)
class Plan:
    """As the command line asks for it."""

    mode: str
    postgres: int = 16
    only_postgres: bool = False
