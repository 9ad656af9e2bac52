"""Finds PostgreSQL for the ledger's tests, installs it where it is missing and may be installed, and starts a server.

`python scripts/postgres.py` prints the folder of its programs; `--install` tries the system's packages when run as root.
Where none can be had this says so in one line, and the tests are skipped (in CI they fail).
"""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MISSING = (
    "no PostgreSQL for the ledger's tests: install one (Debian: apt install postgresql) "
    "or name the folder of its programs in WORKBENCH_POSTGRES"
)
NOBODY = ("postgres", "nobody")  # a server refuses to run as root


def find() -> Path | None:
    """The folder that holds initdb and postgres: WORKBENCH_POSTGRES, else the newest of the system; None without one."""
    named = os.environ.get("WORKBENCH_POSTGRES")
    places = [named] if named else sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=_version, reverse=True)
    on_path = shutil.which("initdb")
    places += [os.path.dirname(on_path)] if on_path and not named else []
    return next((Path(one) for one in places if one and (Path(one) / "initdb").exists()), None)


def _version(place: str) -> float:
    try:
        return float(Path(place).parent.name)
    except ValueError:
        return 0.0


def install() -> Path | None:
    """Install PostgreSQL from the system's packages when root, and return the folder of its programs."""
    if find() is None and os.geteuid() == 0 and shutil.which("apt-get"):
        print("workbench: installing PostgreSQL from the system's packages", flush=True)
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "postgresql"]):
            subprocess.run(
                ["apt-get", *command], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, capture_output=True,
                timeout=600, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
    return find()


@contextmanager
def server(programs: Path) -> Iterator[str]:
    """A server of its own in a new folder, by a user who is not root, on a socket there; gives its address."""
    folder = Path(tempfile.mkdtemp(prefix="wb-pg-", dir="/tmp"))  # short: a socket's path has at most 107 characters
    be: dict[str, object] = {}
    user = pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:
        who = next(pwd.getpwnam(name) for name in NOBODY if name in {one.pw_name for one in pwd.getpwall()})
        be, user = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}, who.pw_name
        os.chown(folder, who.pw_uid, who.pw_gid)
    folder.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(folder)}
    data = folder / "data"
    make = [str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", user, "--no-sync", "-E", "UTF8"]
    subprocess.run(make, check=True, capture_output=True, timeout=120, env=environment, cwd=folder, **be)  # type: ignore[call-overload]
    settings = [
        "-c",
        "listen_addresses=",
        "-c",
        f"unix_socket_directories={folder}",
        "-c",
        "unix_socket_permissions=0777",
    ]
    settings += ["-c", "fsync=off", "-c", "max_connections=40", "-c", "shared_buffers=16MB"]
    log = (folder / "log").open("wb")
    running = subprocess.Popen(  # type: ignore[call-overload]
        [str(programs / "postgres"), "-D", str(data), *settings],
        stdout=log,
        stderr=log,
        env=environment,
        cwd=folder,
        **be,
    )
    try:
        ready = [str(programs / "pg_isready"), "-h", str(folder), "-q"]
        for _ in range(300):
            if subprocess.run(ready, timeout=20, check=False, env=environment).returncode == 0:
                break
            if running.poll() is not None:
                raise RuntimeError((folder / "log").read_text(errors="replace"))
        yield f"postgresql://{user}@/postgres?host={folder}"
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    found = install() if "--install" in sys.argv else find()
    print(found or f"workbench: {MISSING}")
