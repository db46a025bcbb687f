"""What migrations that make triggers leave behind on their way back, and how it goes.

pgtrigger's reverse drops a trigger but not the function that it ran. `forgotten_on_the_way_back` stands first in such
a migration, so it is reversed last, when no trigger uses its functions any more.
"""

from django.db.migrations import RunSQL

_DROP_UNUSED = """
DO $$
DECLARE unused regprocedure;
BEGIN
  FOR unused IN
    SELECT oid FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND proname LIKE 'pgtrigger\\_%'
      AND NOT EXISTS (SELECT 1 FROM pg_trigger WHERE tgfoid = pg_proc.oid)
  LOOP
    EXECUTE format('DROP FUNCTION %s', unused);
  END LOOP;
END $$
"""


def forgotten_on_the_way_back() -> RunSQL:
    """An operation that does nothing forward, and drops the trigger functions that nobody uses backward."""
    return RunSQL(sql=RunSQL.noop, reverse_sql=_DROP_UNUSED)
