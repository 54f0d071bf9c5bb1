"""The stack in containers: `compose.yaml` with LocalStack's image and Postgres's."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from stack.localstack import ACCOUNT
from stack.paths import HERE
from stack.plan import Plan
from stack.postgres import DATABASE, ROLE
from stack.report import StackError, say
from stack.state import State
from stack.venv import python

IMAGES = {15: "postgres:15.18", 16: "postgres:16.14", 18: "postgres:18.4"}


def engine_answers() -> bool:
    """Whether a Docker engine with the compose plugin can be used by this user."""
    try:
        for probe in (["docker", "info"], ["docker", "compose", "version"]):
            if subprocess.run(probe, capture_output=True, timeout=10).returncode != 0:
                return False
        return True
    except (OSError, subprocess.TimeoutExpired):
        return False


class DockerStack:
    """The same three steps as the host's: `start`, `tend`, `stop`."""

    def __init__(self, folder: Path, venv: Path, plan: Plan, state: State) -> None:
        self._folder = folder
        self._venv = venv
        self._state = state
        self._project = "oncebox-" + hashlib.sha256(str(folder).encode()).hexdigest()[:8]
        self._services = ["postgres"] if plan.only_postgres else []
        self._env = os.environ | {
            "ONCEBOX_POSTGRES_IMAGE": IMAGES[plan.postgres],
            "ONCEBOX_NETWORK": f"{self._project}_default",
        }

    def start(self) -> None:
        """Returns when the containers are healthy. The first time, this pulls the images."""
        say("starting containers (the first time, Docker pulls about 1.5 GB)")
        self._compose("up", "--detach", "--wait", "--quiet-pull", *self._services)

    def env(self) -> dict[str, str]:
        """What a program needs to use the stack. Functions reach Postgres by another name."""
        postgres = self._address("postgres", 5432)
        aws = {} if self._services else {"AWS_ENDPOINT_URL": f"http://{self._address('localstack', 4566)}"} | ACCOUNT
        return aws | {
            "DATABASE_URL": f"postgres://{ROLE}@{postgres}/{DATABASE}",
            "ONCEBOX_FUNCTION_DATABASE_URL": f"postgres://{ROLE}@postgres:5432/{DATABASE}",
            "ONCEBOX_STACK": "docker",
            "ONCEBOX_STACK_DIR": str(self._folder),
            "ONCEBOX_COMPOSE_PROJECT": self._project,
            "ONCEBOX_PYTHON": str(python(self._venv)),
        }

    def tend(self) -> None:
        """Nothing: Docker looks after its containers."""

    def stop(self, hard: bool) -> None:
        """Removes containers, volumes and network."""
        self._compose("down", "--volumes", "--remove-orphans", "--timeout", "0" if hard else "10")

    def _address(self, service: str, port: int) -> str:
        return self._compose("port", service, str(port)).strip()

    def _compose(self, *arguments: str) -> str:
        command = ["docker", "compose", "--project-name", self._project, "--file", str(HERE / "compose.yaml")]
        with (self._folder / "logs" / "docker.log").open("a") as log:
            done = subprocess.run(
                [*command, *arguments], env=self._env, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=log, text=True,
            )
        if done.returncode != 0:
            raise StackError(
                f"docker compose {arguments[0]} failed; {self._folder}/logs/docker.log says why",
                "repair Docker, or set ONCEBOX_STACK=host to do without it",
            )
        return done.stdout
