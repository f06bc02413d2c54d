"""That the database and the Redis of a conductor belong together: two databases on one Redis would mix their leases."""

from redis.exceptions import RedisError

from vimmon.errors import OtherInstallation
from vimmon.lease.connection import connect
from vimmon.lease.keys import Keys
from vimmon.redis_url import redis_unreachable
from vimmon.registry.database import check_schema, open_engine
from vimmon.registry.store import VimStore
from vimmon.settings import Settings


def check_installation(settings: Settings) -> None:
    """Marks Redis as this database's. Raises OtherInstallation where it is another's, and what keeps it from asking."""
    engine = open_engine(settings.database_url.get_secret_value())
    check_schema(engine)
    installation = VimStore(engine).installation_id()
    engine.dispose()
    key = Keys(settings.prefix).installation
    redis = connect(settings)
    try:
        redis.set(key, installation, nx=True)
        value = redis.get(key)
    except RedisError as trouble:
        raise redis_unreachable(trouble) from None
    finally:
        redis.close()
    if value != installation.encode():
        raise OtherInstallation(
            f"another vimmon, of another database, uses this Redis under the prefix {settings.prefix!r}"
        )
