"""Makes many RUNNING executions of some: copies of a Mistral's own rows, under new ids.

Its API makes five to ten a second; what is measured is what they cost at rest, not how they came to be. Each has what
the real one has: its own workflow execution, task, action, and the look at its integrity that is planned for it.
"""

from sqlalchemy import Connection, Engine, text

PERIOD_S = 120  # in which each is looked at once
TABLES = {  # table → the columns that name a row, which become other ids
    "workflow_executions_v2": ("id",),
    "task_executions_v2": ("id", "workflow_execution_id"),
    "action_executions_v2": ("id", "task_execution_id"),
}
NEW_ID = "md5({column} || ':' || n)::uuid::text"
ORIGINALS = "SELECT id FROM workflow_executions_v2 WHERE state = 'RUNNING'"


def multiply(database: Engine, executions: int) -> None:
    """Until so many RUN; PostgreSQL only."""
    with database.begin() as connection:
        there = connection.execute(text(ORIGINALS)).scalars().all()
        times, more = divmod(executions - len(there), len(there))
        connection.execute(text("CREATE TEMPORARY TABLE copied (id varchar, n integer) ON COMMIT DROP"))
        rows = [{"id": each, "n": n} for i, each in enumerate(there) for n in range(times + (i < more))]
        connection.execute(text("INSERT INTO copied VALUES (:id, :n)"), rows)
        for table, ids in TABLES.items():
            _copy(connection, table, ids)
        _plan_looks(connection)
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def _copy(connection: Connection, table: str, ids: tuple[str, ...]) -> None:
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = :table AND table_schema = 'public'"
    columns = connection.execute(text(query), {"table": table}).scalars().all()
    values = [
        NEW_ID.format(column=f"t.{column}") if column in ids else "NULL" if column == "unique_key" else f"t.{column}"
        for column in columns
    ]
    of = {
        "workflow_executions_v2": "t.id",
        "task_executions_v2": "t.workflow_execution_id",
        "action_executions_v2": "(SELECT workflow_execution_id FROM task_executions_v2 WHERE id = t.task_execution_id)",
    }[table]
    connection.execute(
        text(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)}"
            f" FROM {table} t JOIN copied ON copied.id = {of}"
        )
    )


def _plan_looks(connection: Connection) -> None:
    """As many a second as there will be: each comes once in a period."""
    new_id = NEW_ID.format(column="copied.id")
    connection.execute(
        text(
            "INSERT INTO delayed_calls_v2 (id, factory_method_path, target_method_name, method_arguments, serializers,"
            " key, auth_context, execution_time, processing, created_at)"
            f" SELECT md5(d.id || ':' || n)::uuid::text, d.factory_method_path, d.target_method_name,"
            f" replace(d.method_arguments, copied.id, {new_id}), d.serializers, replace(d.key, copied.id, {new_id}),"
            f" d.auth_context, now() AT TIME ZONE 'UTC' + random() * interval '{PERIOD_S} seconds', false, now()"
            " FROM delayed_calls_v2 d JOIN copied ON d.key LIKE '%' || copied.id"
        )
    )
