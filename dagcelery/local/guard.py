"""Child processes that cannot outlive this one: each leads a session of its own, watched by a supervisor.

Sessions of their own keep the terminal's Ctrl-C away from them: only this process gets it, and ends them in order. If
this process dies without doing so, the supervisor ends them (supervisor.py).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Self, cast

from dagcelery.local import supervisor


class Process:
    """A child process that leads its own session, so that its children can be killed along with it."""

    def __init__(self, child: subprocess.Popen[bytes], on_end: Callable[[], None]) -> None:
        self._child = child
        self._on_end = on_end

    @property
    def pid(self) -> int:
        """The process id, which is also that of its session and process group."""
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process itself runs; its children may outlive it for a while."""
        return self._child.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code, or minus the number of the signal that ended it; None while it runs."""
        return self._child.poll()

    def send(self, number: int) -> None:
        """Send a signal to this process alone, so that its children may outlive it."""
        self._child.send_signal(number)

    def ask(self) -> None:
        """Ask the process to terminate, without waiting for it."""
        self._child.terminate()

    def kill(self) -> None:
        """Kill the process and its children at once, as a machine that loses power does."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._child.wait()
        self._on_end()

    def stop(self, grace_seconds: float = 5.0, ask_again_seconds: float | None = None) -> None:
        """Ask the process to terminate, repeatedly if it may refuse, and kill it after the grace period."""
        deadline = time.monotonic() + grace_seconds
        while self.is_alive and (left := deadline - time.monotonic()) > 0:
            self.ask()
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(min(left, ask_again_seconds or left))
        self.kill()


class Guard:
    """A private directory, and processes that end before it is removed; a context manager."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="dagcelery-"))
        self._processes: list[Process] = []
        self._supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", supervisor.__file__, str(os.getpid()), str(self.directory)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def processes(self) -> tuple[Process, ...]:
        """The processes that run now, in the order in which they were started."""
        return tuple(process for process in self._processes if process.is_alive)

    def start(
        self,
        command: Sequence[str],
        *,
        log: Path | int,
        environment: Mapping[str, str] | None = None,
        keep: Sequence[int] = (),
    ) -> Process:
        """Start a command; its output goes to `log`, and the file descriptors in `keep` stay open in it."""
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if isinstance(log, Path) else log
        try:
            child = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=keep,
            )
        finally:
            if output is not log:
                os.close(output)
        self._tell(f"+{child.pid}")
        process = Process(child, on_end=lambda: self._tell(f"-{child.pid}"))
        self._processes.append(process)
        return process

    def close(self) -> None:
        """Stop what still runs, the latest first, and remove the directory; may be called twice."""
        for process in reversed(self._processes):
            process.stop()
        self._processes.clear()
        shutil.rmtree(self.directory, ignore_errors=True)
        self._tell("done")
        with suppress(OSError):
            self._pipe.close()
        self._supervisor.wait()

    @property
    def _pipe(self) -> IO[bytes]:
        return cast("IO[bytes]", self._supervisor.stdin)

    def _tell(self, line: str) -> None:
        # A closed pipe means that the guard is closed, a broken one that the supervisor was killed.
        with suppress(OSError, ValueError):
            self._pipe.write(line.encode() + b"\n")
            self._pipe.flush()


def tail(log: Path, lines: int = 20) -> str:
    """Return the last lines of a log as the end of an error's sentence."""
    try:
        output = log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        output = []
    return "\n".join(["its output ends with", *output]) if output else "it printed nothing"
