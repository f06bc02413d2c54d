"""Redis and the database: can they be reached, are they as vimmon needs them, do they belong together."""

import time

from redis.exceptions import NoPermissionError

from vimmon.cli.doctor.finding import Found, ok, unknown, warning, wrong
from vimmon.cli.doctor.parts import Parts
from vimmon.errors import SchemaOutdated

REDIS_MIN = (7, 0)
FULL = 0.9
CLOCKS_APART_S = 5.0


def redis_answers(parts: Parts) -> Found:
    parts.redis.ping()
    begun = time.monotonic()
    parts.redis.ping()
    return ok(f"{parts.redis_place} answers in {(time.monotonic() - begun) * 1000:.1f} ms")


def redis_version(parts: Parts) -> Found:
    info = parts.redis_info
    version = str(info.get("redis_version", "?"))
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {version}"
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < REDIS_MIN:
        return wrong(name, "Run Redis 7.0 or later, or Valkey")
    if info.get("role") != "master":
        return wrong(f"{name}, a replica: it refuses what vimmon writes", "Name the master in VIMMON_REDIS_URL")
    if info.get("cluster_enabled"):
        return wrong(f"{name}, in cluster mode", "Give vimmon a Redis without cluster mode, with Sentinel if need be")
    return ok(name)


def redis_memory(parts: Parts) -> Found:
    info = parts.redis_info
    policy, most, used = info.get("maxmemory_policy"), info.get("maxmemory", 0), info.get("used_memory", 0)
    text = f"{_size(used)} used, " + (f"maxmemory {_size(most)}, {policy}" if most else "no maxmemory")
    if policy != "noeviction":
        remedy = "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf"
        if most:
            return wrong(f"{text}: Redis may throw away leases, requests and jobs", remedy)
        return warning(f"{text}; with one, the policy {policy} would throw away leases, requests and jobs", remedy)
    if most and used > FULL * most:
        return warning(f"{text}: nearly full, then it refuses what vimmon writes", "Raise maxmemory")
    return ok(text)


def redis_persistence(parts: Parts) -> Found:
    info = parts.redis_info
    for field, what in (("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "snapshot")):
        if info.get(field, "ok") != "ok":
            return wrong(
                f"the last {what} could not be written: Redis may refuse what vimmon writes",
                "Look at Redis's log, and at the room on its disk",
            )
    if info.get("aof_enabled"):
        return ok("append-only file")
    lost = "after a restart of Redis leases are written anew from the database, but waiting jobs and counters are lost"
    remedy = "CONFIG SET appendonly yes, and the same in redis.conf"
    try:
        save = str(parts.redis.config_get("save").get("save", ""))
    except NoPermissionError:
        return unknown(
            "no append-only file; whether there are snapshots this user may not ask (CONFIG GET save)",
            "Ask as a user who may, or look into redis.conf",
        )
    return ok(f"snapshots (save {save}), no append-only file") if save else warning(f"none: {lost}", remedy)


def database_answers(parts: Parts) -> Found:
    found = parts.examined
    return ok(f"{found.version}, {found.place.removeprefix('the database ')}")


def tables(parts: Parts) -> Found:
    found = parts.examined
    if found.revision == found.head:
        return ok(f"revision {found.head}, the newest")
    if found.newer:
        return wrong(f"of a newer vimmon: revision {found.revision}", "Install the newer vimmon here too")
    state = f"revision {found.revision}" if found.revision else "missing"
    return wrong(f"{state}; this vimmon needs {found.head}", SchemaOutdated.remedy)


def installation(parts: Parts) -> Found:
    """Two databases on one Redis would mix their leases."""
    own = parts.database.store.installation_id()
    raw = parts.redis.get(parts.keys.installation)
    if raw is None:
        return warning(f"{own}; Redis has not been told yet", "Start a conductor: python -m vimmon.conductor")
    if not isinstance(raw, bytes) or raw != own.encode():
        return wrong(
            f"the database is {own}, but this Redis serves another under the prefix {parts.settings.prefix!r}",
            "Give each database a Redis, or a VIMMON_PREFIX, of its own. For a database that replaces the old one:"
            f" DEL {parts.keys.installation}, and start the conductors anew",
        )
    return ok(f"{own}, in the database and in Redis")


def clocks(parts: Parts) -> Found:
    """Nothing is decided by comparing clocks; but what is shown is subtracted."""
    ahead = {"Redis": parts.redis_ahead_s(), "the database": parts.database_ahead_s()}
    off = {name: seconds for name, seconds in ahead.items() if abs(seconds) > CLOCKS_APART_S}
    if not off:
        return ok("those of Redis, the database and this host agree")
    said = (f"{name}'s is {abs(s):.0f} s {'ahead of' if s > 0 else 'behind'} this host's" for name, s in off.items())
    return warning(
        f"{', '.join(said)}: how long ago something was is shown wrong",
        "Let chrony or another NTP client set the clock on each host",
    )


def _size(number: int) -> str:
    return f"{number / 2**20:,.0f} MiB"
