"""What must not be lost: projects, keys, promised jobs and the cost ledger, through SQLAlchemy."""
