"""Tacker, where it is followed: can its list be read, and is it believed."""

from vimmon.cli.doctor.finding import Found, ok, warning, wrong
from vimmon.cli.doctor.parts import Parts
from vimmon.tacker.state import read_following

LATE = 3.0  # intervals without a pass, as in the alert


def following(parts: Parts) -> Found:
    found = read_following(parts.redis, parts.keys)
    if found is None:
        return ok("not followed")
    if found.doubt is not None:
        lacks = f"its list lacks {len(found.doubt.missing)} of {found.doubt.out_of} VIMs"
        return wrong(
            f"{lacks}, and is not believed: none of them was de-registered",
            "Look at Tacker; if its list is right: vimmon tacker sync --believe-loss",
        )
    if found.failed:
        return wrong(
            f"{found.failed} passes have failed, the last: {found.error}",
            "vimmon tacker sync --once shows what is wrong",
        )
    seconds, _ = parts.redis.time()
    silent_s = seconds - (found.read_ms or 0) / 1000
    if found.interval_s is not None and found.read_ms is not None and silent_s > LATE * found.interval_s:
        return wrong(
            f"its list was last read {silent_s:,.0f} s ago, and is to be read every {found.interval_s:g} s",
            "Start who follows it: a conductor with VIMMON_TACKER_INTERVAL_S, or vimmon tacker sync --every SECONDS;"
            f" if it is to be followed no longer: redis-cli DEL {parts.keys.tacker}",
        )
    if found.skipped:
        return warning(
            f"{found.followed} of its VIMs are watched, {found.skipped} are not",
            "vimmon tacker sync --dry-run says why",
        )
    return ok(f"{found.followed} of its VIMs are watched")
