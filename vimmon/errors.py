"""Every deliberate error of vimmon, each with a remedy: what the reader can do about it."""

from collections.abc import Sequence

CANDIDATES_SHOWN = 10
REPEATED_MAX = 255  # as long as a name may be: what may be right is repeated whole


def repeated(given: object) -> str:
    """What was given, as an error may repeat it: whoever gave something endless knows it by its beginning."""
    text = str(given)
    return text if len(text) <= REPEATED_MAX else f"{text[:REPEATED_MAX]}… ({len(text)} characters)"


class VimmonError(Exception):
    """Something the caller cannot go on from.

    `remedy` says what to do about it; `exit_code` is what the command line ends with: 1 refused or not found, 2 wrong
    usage, 3 something that is needed cannot be reached.
    """

    remedy = ""
    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        if remedy:
            self.remedy = remedy


class InvalidInput(VimmonError):
    """A value that cannot be accepted. The message begins with the name of the field; nothing was changed."""

    def __init__(self, field: str, problem: str, *, remedy: str) -> None:
        super().__init__(f"{field}: {problem}", remedy=remedy)
        self.field = field


class VimNotFound(VimmonError):
    remedy = "List the known ones: vimmon vim list"

    def __init__(self, vim: str) -> None:
        super().__init__(f"VIM {repeated(vim)!r} is not registered")


class VimAmbiguous(VimmonError):
    remedy = "Give more of its name or id"

    def __init__(self, typed: str, candidates: Sequence[tuple[str, str]]) -> None:
        shown = [f"  {name} ({vim_id})" for name, vim_id in candidates[:CANDIDATES_SHOWN]]
        if len(candidates) > len(shown):
            shown.append(f"  and {len(candidates) - len(shown)} more")
        super().__init__("\n".join([f"{repeated(typed)!r} is the start of {len(candidates)} VIMs:", *shown]))


class NameTaken(VimmonError):
    remedy = "Choose another name, or change the VIM that has it: vimmon vim update"

    def __init__(self, name: str) -> None:
        super().__init__(f"name: a VIM named {name!r} is registered already")


class VimExists(VimmonError):
    remedy = "Look at it: vimmon vim show"

    def __init__(self, vim_id: str) -> None:
        super().__init__(f"id: the VIM {vim_id!r} is registered already")


class VimChanged(VimmonError):
    remedy = "Look at it as it is now (vimmon vim show) and repeat the change if it is still wanted"

    def __init__(self, vim: str) -> None:
        super().__init__(f"VIM {vim!r} was changed by somebody else at the same time; nothing was written")


class BatchFailed(VimmonError):
    """The database refused a batch because of one in it. Nothing was written."""

    remedy = "Repeat them one at a time; the database's own log says more"


class SettingsError(VimmonError):
    remedy = "Correct the variable in the environment, or in the file that VIMMON_ENV_FILE names"
    exit_code = 2


class Unreachable(VimmonError):
    """A part that vimmon needs does not answer."""

    exit_code = 3


class DatabaseUnreachable(Unreachable):
    remedy = "Check that the database runs and that VIMMON_DATABASE_URL names it"


class SchemaOutdated(Unreachable):
    remedy = "Bring the tables up to date: vimmon db upgrade"


class RedisUnreachable(Unreachable):
    remedy = "Check that Redis runs and that VIMMON_REDIS_URL names it, with rediss:// where it speaks TLS"


class MistralUnreachable(Unreachable):
    remedy = "Check that Mistral's API runs and that VIMMON_MISTRAL_URL (or OS_AUTH_URL) names it"


class MistralRefused(VimmonError):
    remedy = "Read the log of the Mistral API; check the rights of the user in OS_USERNAME"


class TackerUnreachable(Unreachable):
    remedy = "Check that Tacker and its Keystone run, and that VIMMON_TACKER_URL or Keystone's catalogue names it"


class TackerRefused(VimmonError):
    remedy = "Check the user in OS_USERNAME, or of the cloud in VIMMON_TACKER_CLOUD: it must be an administrator"


class TackerUnreadable(Unreachable):
    """Tacker has answered, but not with a list that can be read to its end."""

    remedy = "Check that VIMMON_TACKER_URL, or Keystone's catalogue, names Tacker itself, and read Tacker's log"


class TackerBusy(VimmonError):
    remedy = "Wait until it has done so; a turn that nobody uses ends by itself within three minutes"


class OtherInstallation(VimmonError):
    remedy = "Give each database a Redis, or a VIMMON_PREFIX, of its own"


class UnsuitableExecutor(VimmonError):
    remedy = "Run Mistral 21 or later, whose executor uses native threads, and install vimmon into that"
