"""`workbench users add | remove | list`, and what `workbench serve` takes about sign-in."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.apps.signin import SignIn


def add(commands: Any) -> None:
    """The command `users` and what belongs to it."""
    users = commands.add_parser(
        "users",
        help="say who may sign in",
        description="Says who may sign in to the pages of `workbench serve`. Passwords are kept as scrypt hashes in a file "
        "that only its owner reads. Where there are users, `workbench serve` asks for them.",
    )
    inner = users.add_subparsers(title="commands", metavar="COMMAND", required=True)
    new = inner.add_parser(
        "add",
        help="add a user, or change one",
        description="Adds a user, or changes the one of that name. The password is asked for, or read as one line where "
        "input is not a terminal. A new password ends the user's open sessions.",
    )
    new.add_argument("name", help="name to sign in with; with --oauth, the name or address that the provider tells")
    new.add_argument("--role", default="viewer", help="viewer (default), operator, admin or none")
    new.add_argument(
        "--notebook", nargs=2, action="append", default=[], metavar=("NOTEBOOK", "ROLE"),
        help="another role for one notebook; may be repeated",
    )  # fmt: skip
    new.add_argument("--oauth", action="store_true", help="without a password: a provider says who it is")
    new.add_argument("--keep-password", action="store_true", help="change roles only")
    new.set_defaults(command=_add)
    old = inner.add_parser("remove", help="remove a user", description="Removes a user, whose open sessions end.")
    old.add_argument("name", help="name of the user")
    old.set_defaults(command=_remove)
    known = inner.add_parser("list", help="list the users", description="Lists the users and their roles.")
    known.add_argument("--json", action="store_true", help="print one user a line")
    known.set_defaults(command=_list)
    for one in (new, old, known):
        _file(one)


def _file(parser: Any) -> None:
    parser.add_argument(
        "--users", type=Path, metavar="FILE",
        help="file of the users (default: WORKBENCH_USERS, else workbench/users.json in the folder of settings)",
    )  # fmt: skip


def serve_options(serve: Any) -> None:
    """The options of `workbench serve` about who reads and where the pages are."""
    group = serve.add_argument_group("sign-in")
    _file(group)
    group.add_argument("--no-sign-in", action="store_true", help="ask nobody, although there are users")
    group.add_argument("--session-hours", type=float, default=12.0, help="how long a sign-in lasts (default: 12)")
    group.add_argument("--audit", type=Path, metavar="FILE", help="audit trail (default: audit.jsonl beside the users)")
    group.add_argument(
        "--oauth", default="", metavar="PROVIDER",
        help="let a provider say who it is: github, gitlab, google, azure, okta, auth0, bitbucket, generic; its key and "
        "secret come from PANEL_OAUTH_KEY and PANEL_OAUTH_SECRET, the rest from Panel's other PANEL_OAUTH_ variables",
    )  # fmt: skip
    group.add_argument(
        "--oauth-role",
        default="none",
        help="role of those whom the provider knows and the users do not (default: none)",
    )
    where = serve.add_argument_group("behind a proxy")
    where.add_argument("--prefix", default="", metavar="PATH", help="path that every address begins with, as in /wb")
    where.add_argument(
        "--origin", dest="origins", action="append", default=[], metavar="ADDRESS",
        help="public address of the pages, as in https://wb.example.org; may be repeated",
    )  # fmt: skip
    where.add_argument(
        "--behind-proxy", action="store_true", help="believe X-Forwarded-For and X-Forwarded-Proto: a proxy sets them"
    )
    serve.add_argument("--workers", type=int, default=1, help="processes that share the port (default: 1)")


def sign_in_of(options: argparse.Namespace) -> SignIn | None:
    """The sign-in that the options and the users there are ask for, None for none."""
    from workbench.apps.roles import check_role
    from workbench.apps.signin import make_sign_in
    from workbench.apps.users import default_file, read_users

    path = options.users or default_file()
    if options.no_sign_in:
        if options.users or options.oauth:
            raise WorkbenchError("--no-sign-in was given with users or a provider; leave one of them out.")
        return None
    if not (options.users or options.oauth or read_users(path)):
        return None
    role = check_role(options.oauth_role)
    return make_sign_in(path, hours=options.session_hours, oauth=options.oauth, oauth_role=role, audit=options.audit)


def _add(options: argparse.Namespace) -> int:
    from workbench.apps.users import add_user, check_name, default_file

    path = options.users or default_file()
    check_name(options.name)
    if options.oauth and options.keep_password:
        raise WorkbenchError("--oauth and --keep-password were given; leave one of them out.")
    password = "" if options.oauth else None if options.keep_password else _password(options.name)
    new = add_user(path, options.name, options.role, dict(options.notebook), password)
    _say(f"{options.name}: {'added' if new else 'changed'}, {options.role}, in {path}")
    return 0


def _password(name: str) -> str:
    if not sys.stdin.isatty():
        word = sys.stdin.readline().rstrip("\r\n")
    else:
        from getpass import getpass

        word = getpass(f"Password of {name}: ")
        if word != getpass("Once more: "):
            raise WorkbenchError("The two passwords differ; nothing was changed.")
    if not word:
        raise WorkbenchError("No password came; type one, or say --oauth for a user whom a provider signs in.")
    return word


def _remove(options: argparse.Namespace) -> int:
    from workbench.apps.users import default_file, remove_user

    path = options.users or default_file()
    remove_user(path, options.name)
    _say(f"{options.name}: removed from {path}")
    return 0


def _list(options: argparse.Namespace) -> int:
    from workbench.apps.users import default_file, read_users

    path = options.users or default_file()
    users = read_users(path)
    for user in users.values():
        way = "password" if user.password else "provider"
        if options.json:
            _say(json.dumps({"name": user.name, "role": user.role, "notebooks": dict(user.notebooks), "way": way}))
            continue
        others = ", ".join(f"{name} {role}" for name, role in user.notebooks.items())
        _say(f"{user.name:<24} {user.role:<9} {way:<9} {others}".rstrip())
    if not users and not options.json:
        _say(f"no users in {path}; to add one: workbench users add NAME")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
