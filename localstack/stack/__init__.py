"""The local stack: Postgres, LocalStack and what it takes to start, watch and end them.

Standard library only: this package makes the virtual environment that all else lives in.

Reading order: `cli` (commands), `supervisor` (one process owns one stack from its start to
its end), `host` and `docker` (the two kinds of stack), `postgres` and `localstack` (the two
servers of the host kind), `venv` (downloads), `state` (what is running, on disk), `process`.
"""
