"""Kernels and runs forked from a warm parent: the launcher of an ordinary kernelspec, and how a parent is found and kept.

    python -m workbench.runs.warm -f CONNECTION_FILE    launches a kernel: a fork of the parent, or a plain one
    python -m workbench.runs.warm --parent              is a parent, until it is stopped
    python -m workbench.runs.warm --install             makes it a kernel of JupyterLab: "Python 3 (warm)"

The launcher stands for its kernel: it passes signals on, ends as the kernel ends, and the kernel ends with it. Where there
is no parent, or it may not be used, the launcher says why and becomes a plain kernel. In the same way `workbench run` stands
for a run that has papermill and the rest imported already.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

VARIABLE = "WORKBENCH_WARM"  # "1": runs and their kernels are forked from the warm parent where there is one
KERNELS = "kernels"  # its value in a forked run: kernels only
ATTEMPT = "WORKBENCH_SCHEDULED"
NAME = "workbench-warm"
SECONDS = 10.0  # to wait for an answer of the parent
PASSED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
LIMITS = tuple(value for name, value in sorted(vars(resource).items()) if name.startswith("RLIMIT_"))


def room() -> Path:
    """The folder of this user's parents, which nobody else may enter. Raises PermissionError where it is another's."""
    folder = Path(tempfile.gettempdir()) / f"wb-warm-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    told = folder.lstat()
    if told.st_uid != os.getuid() or told.st_mode & 0o077 or folder.is_symlink():
        raise PermissionError(f"{folder} is not this user's own")
    return folder


def address() -> Path:
    """Where the parent of this interpreter and this package listens."""
    about = f"{sys.executable}\n{Path(__file__).resolve()}"
    return room() / f"{hashlib.sha256(about.encode()).hexdigest()[:12]}.sock"


def there() -> bool:
    """Whether a parent listens."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(SECONDS)
        asked.connect(str(address()))
        return True
    return False


def ensure(wait: float = 0.0) -> bool:
    """Starts a parent where none listens, in a session of its own; says whether one listens, after ``wait`` seconds at most."""
    if there():
        return True
    with (room() / "parent.log").open("wb") as log:
        subprocess.Popen(
            [sys.executable, "-m", "workbench.runs.warm", "--parent"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={name: value for name, value in os.environ.items() if name not in (ATTEMPT, "WORKBENCH_RUN")},
        )  # fmt: skip
    end = time.monotonic() + wait
    while time.monotonic() < end:
        if there():
            return True
        time.sleep(0.05)
    return False


def command(extra: list[str] | None = None) -> list[str]:
    """The words of the kernelspec."""
    return [sys.executable, "-m", "workbench.runs.warm", "-f", "{connection_file}", *(extra or [])]


def install() -> Path:
    """Installs the kernelspec for this user; gives its folder."""
    from jupyter_client.kernelspec import KernelSpecManager

    told = {"argv": command(), "display_name": "Python 3 (warm)", "language": "python", "metadata": {"debugger": True}}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kernel.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
        return Path(KernelSpecManager().install_kernel_spec(folder, NAME, user=True))


def kernels_of(attempt: str) -> list[int]:
    """The living forked runs and kernels of a scheduled attempt; a fork does not carry its environment for others to see."""
    from workbench.runs.records import since_of

    found = []
    with suppress(OSError):
        for path in room().glob("kernel-*.json"):
            with suppress(OSError, ValueError, KeyError):
                told, pid = json.loads(path.read_text(encoding="utf-8")), int(path.stem.partition("-")[2])
                since = since_of(pid) if attempt in told["attempt"] else None
                if since is not None and abs(since - told["since"]) < 30:  # the number alone is given again
                    found.append(pid)
    return found


# --- the launcher -----------------------------------------------------------------------------------------------------


def launch(arguments: list[str]) -> int:
    """Starts a kernel with the arguments of ipykernel and stays until it ends; gives its exit code."""
    try:
        asked, pid = _ask("kernel", arguments)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"workbench: no warm kernel ({error}); a plain one is started\n")
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, "-m", "ipykernel_launcher", *arguments])
    return _stand_for(asked, pid, os.getppid())  # who started the kernel: it ends with that, as a plain one does


def hand_over(arguments: list[str]) -> int | None:
    """Lets the warm parent fork the command `workbench` with these arguments, and stands for it until it ends; gives its
    exit code. None where nobody asked for that, or no parent may be used: then the command goes on in this process.
    """
    if os.environ.get(VARIABLE) != "1":
        return None
    try:
        sys.stdout.flush()
        asked, pid = _ask("run", arguments)
    except OSError:
        return None  # none listens: who started one has said so
    except ValueError as error:
        sys.stderr.write(f"workbench: the warm parent forks no run ({error}); this one starts plainly\n")
        if ATTEMPT not in os.environ:  # a scheduler keeps its parent itself
            with suppress(OSError):
                ensure()
        return None
    return _stand_for(asked, pid, None)


def _stand_for(asked: socket.socket, pid: int, starter: int | None) -> int:
    """Passes signals on to a fork until it ends, and ends as it does; with ``starter`` also when that process has gone."""
    for one in PASSED:
        if starter is not None or signal.getsignal(one) is not signal.SIG_IGN:  # nohup stays nohup
            signal.signal(one, lambda got, _frame: _pass_on(pid, got))
    told = _line(asked, None, starter)
    if told is None:  # the parent is gone, and its forks with it
        return 1
    status = int(told["status"])
    if os.WIFSIGNALED(status):
        number = int(os.WTERMSIG(status))
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return os.waitstatus_to_exitcode(status)


def _ask(what: str, arguments: list[str]) -> tuple[socket.socket, int]:
    """A connection to the parent and the process that it has forked, to be a kernel or a run. Raises OSError or ValueError,
    saying why there is none.
    """
    asked = socket.socket(socket.AF_UNIX)
    try:
        return asked, _answer(asked, what, arguments)
    except BaseException:
        asked.close()
        raise


def _answer(asked: socket.socket, what: str, arguments: list[str]) -> int:
    asked.settimeout(SECONDS)
    try:
        asked.connect(str(address()))
    except (FileNotFoundError, ConnectionRefusedError):
        raise OSError(
            "none listens: workbench schedule start --warm, or python -m workbench.runs.warm --parent"
        ) from None
    mask = os.umask(0)
    os.umask(mask)
    told = {
        "what": what,
        "arguments": arguments,
        "ignored": [int(one) for one in PASSED if signal.getsignal(one) is signal.SIG_IGN],
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "limits": {str(one): list(resource.getrlimit(one)) for one in LIMITS},
        "umask": mask,
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
    }
    body = json.dumps(told).encode()
    socket.send_fds(asked, [struct.pack("!I", len(body))], [0, 1, 2])
    asked.sendall(body)
    answer = _line(asked, SECONDS)
    if answer is None or "pid" not in answer:
        raise ValueError((answer or {}).get("refused", "the parent did not answer"))
    return int(answer["pid"])


def _line(asked: socket.socket, wait: float | None, starter: int | None = None) -> dict[str, Any] | None:
    """The next line of JSON from a connection, None at its end, and when the process ``starter`` has gone.

    Raises TimeoutError after ``wait`` seconds; None waits for as long as it takes.
    """
    text = b""
    asked.settimeout(wait or 1.0)
    while not text.endswith(b"\n"):
        try:
            part = asked.recv(1)
        except TimeoutError:
            if wait is not None:
                raise
            if starter is not None and os.getppid() != starter:
                return None
            continue
        if not part:
            return None
        text += part
    told: dict[str, Any] = json.loads(text)
    return told


def _pass_on(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def main(arguments: list[str]) -> int:
    """Launcher, parent or installer."""
    if arguments[:1] == ["--parent"]:
        from workbench.runs.warm_parent import serve

        return serve()
    if arguments[:1] == ["--install"]:
        sys.stdout.write(f"{install()}\n")
        return 0
    return launch(arguments)


if __name__ == "__main__":
    if sys.path[0] == "" or Path(sys.path[0]) == Path.cwd():
        del sys.path[0]
    sys.exit(main(sys.argv[1:]))
