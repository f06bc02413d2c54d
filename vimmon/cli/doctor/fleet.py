"""Conductors and executors: do they live, are they of one version, do executors hold what the database wants."""

import platform
from collections import Counter
from datetime import timedelta

from vimmon import __version__
from vimmon.cli.doctor.finding import Found, away, ok, warning, wrong
from vimmon.cli.doctor.parts import Parts, Process
from vimmon.vim import VimStatus

NAMED_MAX = 5
WAITING_SHARE = 0.1  # of what the list of requests may hold
LOOK = "vimmon lease list and vimmon vim list show them; the log of the conductor says why one does not start"


def versions(parts: Parts) -> Found:
    own = f"vimmon {__version__} on Python {platform.python_version()}"
    others = Counter(
        f"{kind} {process.version}"
        for kind, processes in (("conductor", parts.conductors), ("executor", parts.executors))
        for process in processes
        if process.version != __version__
    )
    if not others:
        return ok(own)
    said = ", ".join(f"{count} of {name}" for name, count in sorted(others.items()))
    return warning(
        f"{own}; but {said}", "Bring all parts to one version; in the middle of an upgrade this is as it should be"
    )


def conductors(parts: Parts) -> Found:
    if not parts.conductors:
        return away("none lives: nobody writes statuses, starts monitors or repairs", "python -m vimmon.conductor")
    return ok(f"{_count(parts.conductors, 'lives', 'live')}, on {_hosts(parts.conductors)}")


def executors(parts: Parts) -> Found:
    found = parts.executors
    if not found and parts.vims:
        return away(
            "none lives: nobody watches the VIMs",
            "Start Mistral's executor, with vimmon installed in it and VIMMON_REDIS_URL in its environment;"
            " a conductor then starts the monitors",
        )
    if not found:
        return ok("none yet: one is to be seen from its first VIM on")
    degraded = [one.id for one in found if one.degraded]
    if degraded:
        return warning(
            f"{', '.join(degraded[:NAMED_MAX])}: reaches none of its VIMs, and suspects itself",
            "Look at the network of that host: routes, DNS, firewall",
        )
    return ok(f"{_count(found, 'lives', 'live')}, on {_hosts(found)}")


def vims(parts: Parts) -> Found:
    """What was changed lately may still be on its way."""
    lately = parts.examined.now - timedelta(seconds=parts.settings.unknown_after_s)
    changed = {vim.id for vim in parts.vims if vim.updated_at > lately}
    odd = [report for report in parts.leases if report.differences]
    stale = [report for report in odd if report.vim_id not in changed]
    total = len(parts.vims)
    if not total:
        return ok("none is registered")
    if not odd:
        return ok(f"all {total:,} are held as the database wants")
    if not stale:
        return ok(f"{total - len(odd):,} of {total:,} are held as the database wants, the others were changed just now")
    named = [f"{report.name} ({report.differences[0]})" for report in stale[:NAMED_MAX]]
    more = f", and {len(stale) - len(named)} more" if len(stale) > len(named) else ""
    return wrong(f"{len(stale):,} of {total:,} are not held as the database wants: {', '.join(named)}{more}", LOOK)


def requests(parts: Parts) -> Found:
    """What waits for a conductor, and what was put aside."""
    waiting, dead = parts.redis.llen(parts.keys.requests), parts.redis.llen(parts.keys.dead)
    if waiting > WAITING_SHARE * parts.settings.requests_max:
        return warning(f"{waiting:,} requests wait for a conductor", "Start more conductors, or give them --rpc N")
    if dead:
        return warning(
            f"{dead:,} requests were put aside, since nobody could answer them",
            f"Look at them: LRANGE {parts.keys.dead} 0 -1; then DEL {parts.keys.dead}",
        )
    return ok(f"{waiting:,} requests wait, none was put aside")


def jobs(parts: Parts) -> Found:
    """What waits for Mistral."""
    from vimmon.mistral.queue import JobQueue

    counts = JobQueue(parts.redis, name=parts.settings.prefix).counts()
    said = ", ".join(f"{number:,} {state}" for state, number in counts.items())
    if counts["failed"] or counts["retrying"]:
        return warning(said, "The log of the conductor's workers says why; what is wanted is tried again by itself")
    return ok(said)


def icmp(parts: Parts) -> Found:
    """Which executor could not, its VIMs say; this host matters only where an executor runs on it."""
    from vimmon.actions.probing.echo_opening import NOT_ALLOWED

    pinged = [vim for vim in parts.vims if vim.probe.get("kind") == "icmp"]
    failed = [vim for vim in pinged if vim.status is VimStatus.UNKNOWN and NOT_ALLOWED in (vim.reason or "")]
    remedy = "On the hosts of the executors: sysctl net.ipv4.ping_group_range='0 2147483647', or CAP_NET_RAW for them"
    if failed:
        return wrong(
            f"{len(failed)} of {len(pinged)} VIMs with an icmp probe have an executor that may not ping", remedy
        )
    here = f"an icmp probe is {'' if _may_ping() else 'not '}possible on this host"
    return ok(f"{here}; {len(pinged) or 'no'} VIMs have one" if len(pinged) != 1 else f"{here}; 1 VIM has one")


def _may_ping() -> bool:
    import socket

    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP).close()
        except OSError:
            continue
        return True
    return False


def _count(processes: list[Process], one: str, many: str) -> str:
    return f"{len(processes)} {one if len(processes) == 1 else many}"


def _hosts(processes: list[Process]) -> str:
    hosts = sorted({process.host for process in processes})
    more = f" and {len(hosts) - NAMED_MAX} more hosts" if len(hosts) > NAMED_MAX else ""
    return ", ".join(hosts[:NAMED_MAX]) + more
