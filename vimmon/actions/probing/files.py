"""How many probes the limit of open files carries; raises the limit where it may, and says where it is low."""

import logging
import resource
from dataclasses import dataclass

from vimmon.log import event

log = logging.getLogger(__name__)

PROBES_MAX = 2000
FILES_PER_PROBE = 3  # one may race to several addresses, and the process opens other files as well
FILES_WANTED = PROBES_MAX * FILES_PER_PROBE
REMEDY = "raise the executor's limit of open files, as with LimitNOFILE= in its systemd unit"


@dataclass(frozen=True)
class Plan:
    """What to set the soft limit to, and how many probes may then run at once."""

    soft: int
    probes: int
    is_low: bool


def plan(soft: int, hard: int) -> Plan:
    """The limits as `getrlimit` tells them: RLIM_INFINITY is below zero."""
    if soft == resource.RLIM_INFINITY or soft >= FILES_WANTED:
        return Plan(soft, PROBES_MAX, is_low=False)
    soft = FILES_WANTED if hard == resource.RLIM_INFINITY else max(soft, min(hard, FILES_WANTED))
    return Plan(soft, max(1, soft // FILES_PER_PROBE), is_low=soft < FILES_WANTED)


def probes_at_once() -> int:
    """How many the limit carries, after it was raised as far as it is wanted and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    planned = plan(soft, hard)
    if planned.soft != soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (planned.soft, hard))
        except (OSError, ValueError):  # a sandbox may forbid what the limit itself allows
            planned = plan(soft, soft)
        else:
            log.info(event("open_files_raised", old=soft, new=planned.soft))
    if planned.is_low:
        log.warning(event("open_files_low", limit=planned.soft, probes_at_once=planned.probes, remedy=REMEDY))
    return planned.probes
