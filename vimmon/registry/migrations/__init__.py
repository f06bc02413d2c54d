"""How the tables came to be: one file a step, in `versions`. Written by hand; a test compares them with the models."""

VERSION_TABLE = "vimmon_version"  # not Alembic's own name: another program's may be in the same database
