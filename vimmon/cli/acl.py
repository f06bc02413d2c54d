"""`vimmon acl …`: prints the line of Redis's aclfile for one user: what that part needs, and no more."""

import hashlib
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from vimmon.cli.options import AsJson
from vimmon.cli.output import err, show_json
from vimmon.errors import InvalidInput
from vimmon.lease.acl import Access, conductor_access, executor_access, operator_access, server_access
from vimmon.lease.keys import Keys
from vimmon.settings import load_settings

app = typer.Typer(help="Print access rules for Redis: one line of its aclfile for each user.", no_args_is_help=True)

PASSWORD_BYTES = 32
PASSWORD_MIN = 16  # Redis keeps an unsalted SHA-256: a short one is guessed by whoever reads the file
PASSWORD_MAX_BYTES = 1024

PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        metavar="FILE",
        help="Its first line is the password; - reads standard input. Without it, and without --hash, one is made.",
    ),
]
Hash = Annotated[
    str | None, typer.Option("--hash", metavar="SHA256", help="The SHA-256 of a password that is kept elsewhere.")
]


@app.command()
def executor(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its VIMMON_EXECUTOR_NAME.")],
    password_file: PasswordFile = None,
    hash_: Hash = None,
    as_json: AsJson = False,
) -> None:
    """For the executors of that name: they read leases, and write only what is their own."""
    _print(executor_access(name, _keys()), password_file, hash_, as_json)


@app.command()
def conductor(password_file: PasswordFile = None, hash_: Hash = None, as_json: AsJson = False) -> None:
    """For the conductors: all keys of vimmon and RQ, and no others."""
    _print(conductor_access(_keys()), password_file, hash_, as_json)


@app.command()
def server(password_file: PasswordFile = None, hash_: Hash = None, as_json: AsJson = False) -> None:
    """For those who register VIMs: `vimmon vim …`, or a program that uses Registry."""
    _print(server_access(_keys()), password_file, hash_, as_json)


@app.command()
def operator(password_file: PasswordFile = None, hash_: Hash = None, as_json: AsJson = False) -> None:
    """For people who look, and change nothing: `vimmon vim list`, `vimmon lease …`, redis-cli."""
    _print(operator_access(_keys()), password_file, hash_, as_json)


def _keys() -> Keys:
    return Keys(load_settings().prefix)


def _print(access: Access, password_file: Path | None, hash_: str | None, as_json: bool) -> None:
    if password_file is not None and hash_ is not None:
        raise typer.BadParameter("give --password-file or --hash, not both")
    made = secrets.token_urlsafe(PASSWORD_BYTES) if password_file is None and hash_ is None else None
    if hash_ is None:
        password = made or _read_password(password_file or Path("-"))
        hash_ = hashlib.sha256(password.encode()).hexdigest()
    line = access.line(hash_.removeprefix("#"))
    if as_json:
        show_json({"user": access.user, "line": line} | ({"password": made} if made else {}))
        return
    sys.stdout.write(line + "\n")
    if made:
        err().print(f"password of {access.user}, shown only now: {made}")
        err().print(f"  Write it into VIMMON_REDIS_URL: rediss://{access.user}:PASSWORD@redis.example.org:6379/0")
    err().print("  The rules bind nobody before the aclfile also says: user default off resetpass ~* &* +@all")


def _read_password(file: Path) -> str:
    """The first line of the file. Raises InvalidInput; never repeats what it read."""
    remedy = f"Give a file whose first line is a password of at least {PASSWORD_MIN} characters"
    try:
        if str(file) == "-":
            raw = sys.stdin.buffer.read(PASSWORD_MAX_BYTES + 1)
        else:
            with file.open("rb") as opened:
                raw = opened.read(PASSWORD_MAX_BYTES + 1)
        text = raw.decode()
    except OSError as error:
        raise InvalidInput("--password-file", f"{file}: {error.strerror}", remedy=remedy) from None
    except UnicodeDecodeError:
        raise InvalidInput("--password-file", f"{file} is not a text file", remedy=remedy) from None
    password = text.partition("\n")[0].removesuffix("\r")
    if len(raw) > PASSWORD_MAX_BYTES or len(password) < PASSWORD_MIN or not password.isprintable():
        raise InvalidInput("--password-file", f"{file}: too short, too long, or has a control character", remedy=remedy)
    return password
