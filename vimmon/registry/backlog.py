"""What was written in the database and has not reached Mistral: found again here, whatever became of its job."""

from datetime import timedelta

from sqlalchemy import Connection, select

from vimmon.registry.models import VIMS
from vimmon.registry.transactions import clock

MOST = 1000


def uncleaned(connection: Connection, older_than_s: float) -> list[str]:
    """Ids of VIMs de-registered that long ago, of which Mistral may still have something."""
    before = clock(connection) - timedelta(seconds=older_than_s)
    query = select(VIMS.c.id).where(VIMS.c.deleted_at < before, VIMS.c.cleaned_at.is_(None))
    return list(connection.execute(query.limit(MOST)).scalars())
