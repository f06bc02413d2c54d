"""The `vimmon` command: one module for each group of commands; this one turns errors into words and exit codes.

Exit codes: 0 done, 1 refused or not found, 2 wrong usage, 3 something that is needed cannot be reached; of
`vimmon doctor` also 4: something could not be found out.
"""

import errno
import importlib.util
import io
import logging
import os
import sys
from collections.abc import Sequence

from vimmon.errors import VimmonError


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command, and always ends with SystemExit."""
    if importlib.util.find_spec("typer") is None or importlib.util.find_spec("sqlalchemy") is None:
        sys.stderr.write("error: only what an executor needs is installed\n  Install the rest: ")
        sys.stderr.write("pip install 'vimmon[conductor]'\n")
        sys.exit(3)
    from vimmon.cli.app import app  # only now: it needs what was just looked for
    from vimmon.cli.output import show_error

    for name in ("vimmon", "keystoneauth"):
        logging.getLogger(name).addHandler(logging.NullHandler())  # a command says itself what there is to say
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name may have letters that this terminal has not; and who reads a pipe wants to see lines as they come.
            stream.reconfigure(errors="replace", line_buffering=True)
    try:
        app(args=list(sys.argv[1:] if arguments is None else arguments), prog_name="vimmon")
    except VimmonError as error:
        show_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # whoever read us, `head` for instance, has seen enough
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left is not tried again
        sys.stderr.write(f"error: what there is to say cannot be written: {error.strerror}\n")
        sys.exit(1)
