"""An installation of containers: what a test asks of Docker and of Flower.

This folder is no package: as one it would hide Docker's own, which pytest-celery imports.
"""

from __future__ import annotations

import base64
import json
import os
import random
import secrets
import subprocess
import time
import urllib.error
import urllib.request
from typing import Any

from checkout import ROOT
from dagcelery.settings import Settings

FILES = ("docker-compose.yml", "tests/deploy/docker/compose.test.yml")
UP_SECONDS = 540


class Installation:
    """A project of containers with passwords, ports and a volume of its own."""

    def __init__(self) -> None:
        self.redis_port, self.flower_port, self.web_port = random.sample(range(20_000, 32_000), 3)
        self.name = f"dagcelery-test-{self.redis_port}"
        self.login = f"ops:{secrets.token_hex(8)}"
        self.secrets = {
            "REDIS_PASSWORD": secrets.token_hex(32),
            "DAGCELERY_SIGNING_KEY": secrets.token_hex(32),
            "FLOWER_BASIC_AUTH": self.login,
        }
        self._environment = os.environ | self.secrets
        self._environment |= {"REDIS_PORT": str(self.redis_port), "FLOWER_PORT": str(self.flower_port)}
        self._environment |= {"WEB_PORT": str(self.web_port), "COMPOSE_PROFILES": "web"}

    def settings(self) -> Settings:
        """What a client on this machine is told."""
        url = f"redis://dagcelery:{self.secrets['REDIS_PASSWORD']}@127.0.0.1:{self.redis_port}/0"
        return Settings(broker_url=url, store_url=url, signing_key=self.secrets["DAGCELERY_SIGNING_KEY"])

    def compose(
        self, *words: str, without: str = "", files: tuple[str, ...] = FILES
    ) -> subprocess.CompletedProcess[str]:
        """Call docker compose on this project; `without` leaves out a variable."""
        named = [word for file in files for word in ("-f", str(ROOT / file))]
        environment = {name: value for name, value in self._environment.items() if name != without}
        return subprocess.run(
            [
                "docker",
                "compose",
                "--env-file",
                os.devnull,
                "--project-directory",
                str(ROOT),
                "-p",
                self.name,
                *named,
                *words,
            ],
            env=environment,
            capture_output=True,
            text=True,
            timeout=UP_SECONDS,
        )

    def do(self, *words: str) -> str:
        """Call docker compose, which must succeed."""
        done = self.compose(*words)
        assert done.returncode == 0, f"{words}: {done.stderr[-3000:]}"
        return done.stdout

    def containers(self) -> dict[str, dict[str, Any]]:
        """What Docker says of each service's container."""
        ids = self.do("ps", "--all", "--quiet").split()
        told = json.loads(subprocess.run(["docker", "inspect", *ids], capture_output=True, check=True).stdout)
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in told}

    def await_health(self, seconds: float = 120.0) -> None:
        """Wait until every container's own check says that it is well."""
        until = time.monotonic() + seconds
        while ill := {
            name: each["State"]["Health"]
            for name, each in self.containers().items()
            if each["State"]["Health"]["Status"] != "healthy"
        }:
            assert time.monotonic() < until, ill
            time.sleep(1)

    def flower(self, path: str, login: str = "") -> tuple[int, str]:
        """Ask Flower for a page; answer its status and text."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.flower_port}{path}")
        if login:
            request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=30) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, ""
