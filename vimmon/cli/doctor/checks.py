"""All checks, in the order in which they are shown. To add one: a function that takes Parts, and a line here."""

from vimmon.cli.doctor import fleet, mistral, stores, tacker
from vimmon.cli.doctor.finding import Check

REDIS = Check("Redis", stores.redis_answers)
DATABASE = Check("database", stores.database_answers)
TABLES = Check("tables", stores.tables, (DATABASE,))
MISTRAL = Check("Mistral", mistral.mistral_answers)
ALL = (REDIS, TABLES)

CHECKS = (
    REDIS,
    Check("Redis version", stores.redis_version, (REDIS,)),
    Check("Redis memory", stores.redis_memory, (REDIS,)),
    Check("Redis persistence", stores.redis_persistence, (REDIS,)),
    DATABASE,
    TABLES,
    Check("installation", stores.installation, ALL),
    Check("clocks", stores.clocks, (REDIS, DATABASE)),
    MISTRAL,
    Check("action", mistral.action, (MISTRAL, *ALL)),
    Check("versions", fleet.versions, (REDIS,)),
    Check("conductors", fleet.conductors, (REDIS,)),
    Check("executors", fleet.executors, ALL),
    Check("VIMs", fleet.vims, ALL),
    Check("requests", fleet.requests, (REDIS,)),
    Check("jobs", fleet.jobs, (REDIS,)),
    Check("ICMP", fleet.icmp, (TABLES,)),
    Check("Tacker", tacker.following, (REDIS,)),
)
