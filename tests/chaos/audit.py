"""An independent witness: a trigger in PostgreSQL that notes every change of a VIM's row, whoever makes it."""

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from sqlalchemy import Engine, text

INSTALL = """
CREATE TABLE audit (
  n bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(), vim_id text, action_id text,
  old_generation bigint, generation bigint, old_seq bigint, seq bigint, old_holder text, holder text,
  old_status text, status text, reason text);
CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO audit (vim_id, action_id, old_generation, generation, old_seq, seq, old_holder, holder, old_status,
    status, reason)
  VALUES (NEW.id, NEW.action_id, OLD.generation, NEW.generation, OLD.status_seq, NEW.status_seq, OLD.holder, NEW.holder,
    OLD.status, NEW.status, NEW.reason);
  RETURN NEW; END $$;
CREATE TRIGGER note_change AFTER UPDATE ON vims FOR EACH ROW EXECUTE FUNCTION note_change();
"""
UNWANTED = "unwanted"  # the reason that a load gives when it speaks in the name of an action that is not wanted


class Audit:
    """What was written, by plain SQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def install(self) -> None:
        with self._engine.begin() as connection:
            connection.exec_driver_sql(INSTALL)

    def rows(self, vim_ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """The VIMs' rows as they are now."""
        return {row["id"]: row for row in self._all("SELECT * FROM vims WHERE id = ANY(:ids)", vim_ids)}

    def generations(self, vim_ids: Collection[str]) -> dict[str, int]:
        return {vim_id: row["generation"] for vim_id, row in self.rows(vim_ids).items()}

    def holders(self, vim_ids: Collection[str], *, generation: int) -> set[str]:
        """Who has reported on these VIMs since they are of that generation or a later one."""
        noted = self._noted(vim_ids)
        return {note["holder"] for note in noted if note["holder"] and note["generation"] >= generation}

    def statuses(self, vim_ids: Collection[str]) -> list[str]:
        """Every status that was written and differs from the one before, in the order of writing."""
        return [note["status"] for note in self._noted(vim_ids) if note["status"] != note["old_status"]]

    def stale(self, vim_ids: Collection[str]) -> list[str]:
        """What can only have been written by an action that was not the wanted one, or not its holder.

        A monitor's holder name is its own: seen under two generations, it wrote in one that was not its. And a VIM has
        one holder for each generation, whose seq only grows.
        """
        found: list[str] = []
        holders: dict[tuple[str, int], set[str]] = defaultdict(set)
        generations: dict[tuple[str, str], set[int]] = defaultdict(set)
        actions: dict[tuple[str, int], str] = {}
        for note in self._noted(vim_ids):
            vim_id, generation, where = note["vim_id"], note["generation"], f"{note['vim_id']} at note {note['n']}"
            if UNWANTED in (note["reason"] or ""):
                found.append(f"{where}: {note['reason']}")
            if generation < note["old_generation"]:
                found.append(f"{where}: the generation fell")
            if generation == note["old_generation"] and note["seq"] < note["old_seq"]:
                found.append(f"{where}: the seq fell")
            if note["holder"]:
                holders[vim_id, generation].add(note["holder"])
                generations[vim_id, note["holder"]].add(generation)
            if note["action_id"]:
                actions[vim_id, generation] = note["action_id"]
        found += [f"{key}: holders {names}" for key, names in holders.items() if len(names) > 1]
        found += [f"{key}: wrote in generations {numbers}" for key, numbers in generations.items() if len(numbers) > 1]
        for change in self._all("SELECT * FROM status_changes WHERE vim_id = ANY(:ids)", vim_ids):
            wanted = actions.get((change["vim_id"], change["generation"]), change["action_id"])
            if change["action_id"] != wanted:
                found.append(f"{change['vim_id']}: change {change['id']} by action {change['action_id']}")
        return found

    def _noted(self, vim_ids: Collection[str]) -> list[dict[str, Any]]:
        return self._all("SELECT * FROM audit WHERE vim_id = ANY(:ids) ORDER BY n", vim_ids)

    def _all(self, query: str, vim_ids: Collection[str]) -> list[dict[str, Any]]:
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(query), {"ids": list(vim_ids)}).mappings()]
