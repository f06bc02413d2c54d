"""`python -m vimmon.conductor`: everything a conductor does, in one command; its parts can be run apart."""

import argparse
import logging
import sys

from vimmon.conductor.http import listen
from vimmon.conductor.installation import check_installation
from vimmon.conductor.service import Parts, run
from vimmon.errors import VimmonError
from vimmon.log import event, setup_logging
from vimmon.settings import load_settings

log = logging.getLogger("vimmon.conductor")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m vimmon.conductor", description=__doc__)
    for part, what in (("rpc", "answer actions"), ("workers", "talk to Mistral")):
        number = getattr(Parts, part)
        help_ = f"processes that {what} (default {number})"
        parser.add_argument(f"--{part}", type=_count, default=number, metavar="N", help=help_)
    parser.add_argument("--no-upkeep", action="store_true", help="leave the upkeep to other conductors")
    parser.add_argument("--no-reconcile", action="store_true", help="leave the reconciling to other conductors")
    parser.add_argument(
        "--http",
        type=_address,
        metavar="HOST:PORT|off",
        help="where to serve /metrics, /livez and /readyz; anybody who can connect may read them (default off)",
    )
    given = parser.parse_args(arguments)
    try:
        settings = load_settings()
        setup_logging(settings)
        check_installation(settings)
        if settings.tacker_interval_s is not None:
            from vimmon.tacker.client import TackerClient  # what it needs is much to load

            TackerClient(settings)  # what it lacks is said now, and not in a log
        parts = Parts(
            rpc=given.rpc,
            workers=given.workers,
            upkeep=not given.no_upkeep,
            reconcile=not given.no_reconcile,
            tacker=settings.tacker_interval_s is not None,
            http=listen(*given.http) if given.http else None,
        )
        log.info(
            event(
                "conductor_started",
                rpc=parts.rpc,
                workers=parts.workers,
                upkeep=parts.upkeep,
                reconcile=parts.reconcile,
                tacker=parts.tacker,
            )
        )
        run(settings, parts)
    except VimmonError as error:
        sys.stderr.write(f"error: {error}\n  {error.remedy}\n")
        return error.exit_code
    return 0


def _address(text: str) -> tuple[str, int] | None:
    if text == "off":
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError("must be HOST:PORT, [IPv6]:PORT or off")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 64:
        raise argparse.ArgumentTypeError("must be from 0 to 64")
    return number


if __name__ == "__main__":
    sys.exit(main())
