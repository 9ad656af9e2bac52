"""Where the server listens, under which names and paths it answers, and whom it warns."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence

from workbench.apps.signin import SignIn
from workbench.errors import WorkbenchError


def check_reach(address: str, public: Sequence[str], asked: bool) -> None:
    """Raises WorkbenchError for pages that others may reach and that ask nobody who they are, unless that was `asked` for."""
    others = [one for one in [address, *(host.rpartition(":")[0] or host for host in public)] if not loopback(one)]
    if others and not asked:
        raise WorkbenchError(
            f"The address {others[0]!r} can be reached from other machines, and these pages ask nobody who they are; "
            "add users (workbench users add NAME) or a provider (--oauth), serve on localhost, or allow it "
            "(--allow-remote) behind something that asks."
        )


def try_port(address: str, port: int) -> None:
    """Raises WorkbenchError when nothing can listen there; asked first because bokeh leaves an open socket behind."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((address, port))
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise WorkbenchError(
            f"The port {port} of {address} cannot be used ({reason}); give another one with --port."
        ) from error


def loopback(address: str) -> bool:
    """True for an address that only this machine reaches.

    >>> loopback("localhost"), loopback("127.0.0.1"), loopback("::1"), loopback("0.0.0.0"), loopback("")
    (True, True, True, False, False)
    """
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def checked_prefix(prefix: str) -> str:
    """A path prefix as it is used, "" for none. Raises WorkbenchError for one that is no plain path.

    >>> checked_prefix("wb/"), checked_prefix("/a/b"), checked_prefix("/")
    ('/wb', '/a/b', '')
    """
    parts = [part for part in prefix.split("/") if part]
    if any(not part.replace("-", "").replace("_", "").replace(".", "").isalnum() for part in parts):
        raise WorkbenchError(f"The prefix {prefix!r} is no plain path; wanted letters, digits, - _ . and /, as in /wb.")
    return "".join(f"/{part}" for part in parts)


def host_of(origin: str) -> str:
    """The host, with its port where it has one, of a public address.

    >>> host_of("https://wb.example.org"), host_of("wb.example.org:8443")
    ('wb.example.org', 'wb.example.org:8443')
    """
    host = origin.partition("://")[2] or origin
    if not host or any(c in host for c in "/@*? "):
        raise WorkbenchError(f"{origin!r} is no public address; wanted scheme and host, as in https://wb.example.org.")
    return host.lower()


def notice(address: str, signin: SignIn | None, origins: Sequence[str]) -> str:
    """Whether people are asked who they are."""
    if signin is not None:
        ways = [f"the users of {signin.users}", *([f"{signin.oauth}"] if signin.oauth else [])]
        return f"Sign-in is on: {' and '.join(ways)}; the audit trail is {signin.audit.path}."
    if loopback(address) and not origins:
        return "Sign-in is off: everybody who uses this machine can read these pages (workbench users add turns it on)."
    return "WARNING: sign-in is off, and everybody who reaches this address can read these pages."


def names(address: str) -> list[str]:
    return list(dict.fromkeys([address, "localhost", "127.0.0.1", "::1"]))


def bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def known_hosts(address: str, any_name: bool, public: Sequence[str] = ()) -> Callable[[str], bool]:
    """Whether a request's Host is ours: another site's name that leads here must not read these pages."""
    known = {bracketed(name) for name in names(address)}
    return lambda host: (
        any_name or host.lower() in public or (host.rsplit(":", 1)[0] if not host.endswith("]") else host) in known
    )


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
