"""Who may do what in Redis: one line of its access rules for each kind of user, with no right that is not used.

An executor is trusted least: it reads leases, says things, and keeps its own sign of life. Whoever may write jobs (a
conductor, a server) may have any function run in a worker: these two trust one another.
"""

import re
from dataclasses import dataclass

from vimmon.errors import InvalidInput
from vimmon.lease.keys import Keys

EXECUTOR_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # as VIMMON_EXECUTOR_NAME may be: no pattern, no colon
SHA256 = re.compile(r"[0-9a-f]{64}")
CONNECTING = "+ping +select"


@dataclass(frozen=True)
class Access:
    """A user of Redis and its rules: those for all keys, then a selector for each group of keys."""

    user: str
    rules: tuple[str, ...]

    def line(self, password_sha256: str) -> str:
        """The user's line in Redis's aclfile. Raises InvalidInput for what is not a SHA-256: no user is without."""
        if not SHA256.fullmatch(password_sha256):
            raise InvalidInput(
                "hash",
                "not the SHA-256 of a password, in 64 digits of 0-9a-f",
                remedy="Give none, and a password is made; or --password-file",
            )
        return " ".join(["user", self.user, "reset on", f"#{password_sha256}", "resetchannels", *self.rules])


def executor_access(name: str, keys: Keys) -> Access:
    """Of the executor processes whose VIMMON_EXECUTOR_NAME is `name`. Raises InvalidInput for what can be none."""
    if not EXECUTOR_NAME.fullmatch(name):
        raise InvalidInput(
            "name", "not 1 to 64 of A-Z a-z 0-9 _ . -", remedy="Give the executor's VIMMON_EXECUTOR_NAME"
        )
    return Access(
        f"vimmon-executor-{name}",
        (
            f"-@all {CONNECTING} +time",
            f"(-@all +mget %R~{keys.lease('*')} %R~{keys.status('*')})",
            f"(-@all +rpush +llen %W~{keys.requests})",
            f"(-@all +blmpop ~{keys.replies(f'{name}:*')})",
            f"(-@all +zadd %W~{keys.executors})",
            f"(-@all +hget +hset +hdel +hkeys +hlen +pexpire +blmpop +rpush ~{keys.executor(f'{name}:*')})",
        ),
    )


def conductor_access(keys: Keys) -> Access:
    """Of the conductors: everything with vimmon's keys and RQ's, nothing with others, no administration."""
    return Access(
        "vimmon-conductor",
        (
            "-@all +@all -@dangerous -@scripting +eval +evalsha +script|load +info",
            f"~{keys.prefix}:* ~rq:* &rq:pubsub:*",
        ),
    )


def server_access(keys: Keys) -> Access:
    """Of those who register VIMs or follow Tacker: grants leases, enqueues jobs, sees who holds what, has it probed."""
    return Access(
        "vimmon-server",
        (
            f"-@all {CONNECTING} +time +info +script|load +multi +exec +discard +watch +unwatch",
            f"(-@all +get +mget +set +pttl +evalsha ~{keys.lease('*')} ~{keys.status('*')})",
            f"(-@all +pttl +hget +hmget +zrange %R~{keys.executors} %R~{keys.executor('*')})",
            f"(-@all +rpush +pexpire %W~{keys.asks('*')})",
            f"(-@all +blpop ~{keys.answer('*', '*')})",
            f"(-@all +hgetall +hset +expire ~{keys.tacker})",
            f"(-@all +set +get +del ~{keys.tacker_turn})",
            f"(-@all +hincrby ~{keys.totals})",
            "(-@all +@read +@write +evalsha -@dangerous ~rq:*)",
        ),
    )


def operator_access(keys: Keys) -> Access:
    """Of whoever only looks: reads everything of vimmon's and RQ's, changes nothing."""
    return Access(
        "vimmon-operator",
        (f"-@all {CONNECTING} +@read -@dangerous +info +time +command", f"%R~{keys.prefix}:* %R~rq:*"),
    )
