"""Every `VIMMON_*` variable: its unit, its default, why it is there, and how they must relate to one another.

They are read from the environment and, below it, from the file that `VIMMON_ENV_FILE` names. All are checked when a
process starts, so that a typing error is not found at three in the morning.
"""

import difflib
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, Self

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from vimmon.errors import SettingsError, repeated

PREFIX = "VIMMON_"
ENV_FILE = "VIMMON_ENV_FILE"
DEFAULT_ENV_FILE = "/etc/vimmon/vimmon.env"
DEFAULT_MISTRAL_URL = "http://127.0.0.1:8989/v2"
SHORTEST_S, LONGEST_S = 0.001, 10 * 365 * 86400.0  # Redis counts in ms; and beyond, a clock overflows somewhere
TEST_PREFIX = "VIMMON_TEST_"  # where the test suite finds its services; no setting of the product


class Relation(NamedTuple):
    """A setting that must not be less than so many times another one, and why."""

    longer: str
    times: int
    shorter: str
    or_else: str

    def __str__(self) -> str:
        least = self.shorter if self.times == 1 else f"{self.times} times {self.shorter}"
        return f"{self.longer} must not be below {least}, or {self.or_else}"


RELATIONS = (
    Relation("executor_ttl_s", 2, "executor_beat_s", "one lost message ends a life"),
    Relation("conductor_ttl_s", 2, "conductor_beat_s", "one lost message ends a life"),
    Relation("taken_max_age_s", 1, "conductor_ttl_s", "a living conductor loses its batches"),
    Relation("lease_ttl_s", 5, "check_interval_s", "leases expire between two checks"),
    Relation("unknown_after_s", 1, "executor_ttl_s", "what is watched becomes UNKNOWN"),
    Relation("purge_after_s", 1, "lease_ttl_s", "a generation may be used twice"),
)


def default_data_folder() -> Path:
    """The user's data folder, by the XDG base directory specification."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "vimmon"


class Settings(BaseModel):
    """The settings of one process. A field `check_interval_s` is the variable `VIMMON_CHECK_INTERVAL_S`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Where Redis is: redis://, rediss://, unix:// or redis+sentinel://host:port,host:port/service/db",
    )
    database_url: SecretStr = Field(
        default_factory=lambda: SecretStr(f"sqlite:///{default_data_folder()}/vimmon.sqlite"),
        description="Where the database is, as SQLAlchemy writes it: SQLite, PostgreSQL, MariaDB or MySQL",
    )
    mistral_url: str | None = Field(
        None,
        description="Mistral's API; where it is not set, what Keystone's catalogue says, or http://127.0.0.1:8989/v2",
    )
    mistral_timeout_s: float = Field(30, gt=0, le=300, description="How long one call to Mistral may take")
    tacker_interval_s: float | None = Field(
        None, ge=1, description="How often a conductor asks Tacker which VIMs there are; not set: never"
    )
    tacker_url: str | None = Field(
        None, description="Tacker's API without /v1.0; where it is not set, what Keystone's catalogue says"
    )
    tacker_cloud: str | None = Field(
        None, description="The cloud of clouds.yaml in which Tacker is; where it is not set, what OS_* say"
    )
    tacker_admin_role: str = Field(
        "admin", min_length=1, description="The role to which Tacker shows the VIMs of all projects"
    )
    tacker_timeout_s: float = Field(30, gt=0, le=300, description="How long one answer of Tacker's may take")
    tacker_give_status: bool = Field(
        False, description="Whether each change of a status is written into the attribute `extra` of Tacker's VIM"
    )
    prefix: str = Field("vimmon", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="What every key in Redis begins with")
    executor_name: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="The first part of an executor's id; the name of its Redis user where it has one of its own",
    )
    check_interval_s: float = Field(60, gt=0, description="How often a monitor checks that it is still wanted")
    executor_beat_s: float = Field(10, gt=0, description="How often an executor says that it lives")
    executor_ttl_s: float = Field(30, gt=0, description="How long after its last heartbeat an executor counts as alive")
    conductor_beat_s: float = Field(5, gt=0, description="How often a conductor says that it lives")
    conductor_ttl_s: float = Field(
        15, gt=0, description="How long after its last heartbeat a conductor counts as alive"
    )
    lease_ttl_s: float = Field(900, ge=120, description="How long Redis keeps a lease that nobody refreshes")
    rpc_batch: int = Field(100, ge=1, le=1000, description="How many requests a conductor takes at once")
    requests_max: int = Field(
        100_000, ge=100, description="From this length of the request list on, executors hold back"
    )
    request_ttl_s: float = Field(
        60, gt=0, description="How long a request may wait before it is dropped; it is sent again"
    )
    taken_max_age_s: float = Field(60, gt=0, description="After this time a batch taken by a conductor goes to another")
    reconcile_interval_s: float = Field(10, gt=0, description="How often wanted and held are compared")
    start_grace_s: float = Field(60, gt=0, description="How long a start may take; doubled each time it was in vain")
    unknown_after_s: float = Field(120, gt=0, description="How long a VIM may be unwatched before it becomes UNKNOWN")
    mass_loss_wait_s: float = Field(60, gt=0, description="How long nobody is believed dead when most seem to be")
    sweep_interval_s: float = Field(300, gt=0, description="How often Mistral is searched for what no VIM wants")
    history_days: float = Field(30, gt=0, le=36500, description="How long status changes are kept, in days")
    purge_after_s: float = Field(900, gt=0, description="How long the row of a de-registered VIM outlives it")
    log_format: Literal["plain", "json"] = Field("plain", description="How a conductor writes its log: plain or json")

    @model_validator(mode="after")
    def _they_fit_together(self) -> Self:
        for name, value in self:
            if name.endswith("_s") and value is not None and not SHORTEST_S <= value <= LONGEST_S:
                raise ValueError(f"{name} must be from {SHORTEST_S:g} to {LONGEST_S:.0f} seconds")
        for relation in RELATIONS:
            if getattr(self, relation.longer) < relation.times * getattr(self, relation.shorter):
                raise ValueError(str(relation))
        if self.mistral_url and "@" in self.mistral_url:
            raise ValueError("mistral_url must not contain a user name or password: use the OS_* variables")
        if self.tacker_url and "@" in self.tacker_url:
            raise ValueError("tacker_url must not contain a user name or password: use the OS_* variables")
        return self


def environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment, with the variables of the file that `VIMMON_ENV_FILE` names below it.

    Raises SettingsError when that file was named and cannot be read.
    """
    given = dict(os.environ if environ is None else environ)
    file = Path(given.get(ENV_FILE, DEFAULT_ENV_FILE))
    try:
        text = file.open(encoding="utf-8")
    except FileNotFoundError:
        if ENV_FILE in given:
            raise SettingsError(f"{ENV_FILE}: there is no file {file}") from None
        return given
    except OSError as error:
        raise SettingsError(f"{ENV_FILE}: {file}: {error.strerror}") from None
    with text:
        try:
            found = dotenv_values(stream=text)
        except UnicodeDecodeError:
            raise SettingsError(f"{ENV_FILE}: {file} is not a text file") from None
    below = {name: value for name, value in found.items() if value is not None}
    return below | given


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process. Raises SettingsError that names the variable; for an unknown one, the nearest."""
    known = {PREFIX + name.upper(): name for name in Settings.model_fields}
    values: dict[str, str] = {}
    for variable, value in environment(environ).items():
        if not variable.startswith(PREFIX) or variable.startswith(TEST_PREFIX) or variable == ENV_FILE:
            continue
        if variable not in known:
            called = repeated(variable)
            near = difflib.get_close_matches(called, known, n=1, cutoff=0)
            raise SettingsError(f"{called} is not a setting; the nearest is {near[0]}")
        values[known[variable]] = value
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = PREFIX + str(first["loc"][0]).upper() if first["loc"] else "settings"
        raise SettingsError(f"{name}: {first['msg'].removeprefix('Value error, ')}") from None
