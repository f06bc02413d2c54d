"""Names of VIMs for a shell that completes what is typed: quickly, or none; and never a word about why not."""

import contextlib
import re
from threading import Thread
from typing import TYPE_CHECKING

from vimmon.errors import VimmonError

if TYPE_CHECKING:
    from vimmon.registry.store import VimStore

PATIENCE_S = 1.0
NAMES_MAX = 200
WORD = re.compile(r"[\w.@%+=,/-]+")  # no shell takes it apart


def complete_vims(incomplete: str) -> list[str]:
    found: list[str] = []
    with contextlib.suppress(VimmonError):
        thread = Thread(target=_find, args=(_opened(), incomplete, found), daemon=True)
        thread.start()
        thread.join(PATIENCE_S)
    return list(found)


def _opened() -> "VimStore":
    from vimmon.registry.database import open_engine
    from vimmon.registry.store import VimStore
    from vimmon.settings import load_settings

    return VimStore(open_engine(load_settings().database_url.get_secret_value()))


def _find(store: "VimStore", start: str, found: list[str]) -> None:
    with contextlib.suppress(Exception):  # whoever presses Tab in the middle of a line must not be told of it there
        found += [name for name in store.names(start, limit=NAMES_MAX) if WORD.fullmatch(name)]
