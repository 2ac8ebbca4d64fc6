"""The database of a study: opened, made when it is empty, and safe for many processes, SQLite too."""

from __future__ import annotations

import random
import time
import warnings
from typing import Any

from uer_ds.errors import UserError

LOCK_SECONDS = 120
"""How long a process waits for others that write to the same SQLite file."""


def open_storage(url: str, beat_seconds: int, grace_seconds: int) -> Any:
    """The database at `url`, made when it is empty. Raises UserError when it cannot be opened."""
    import optuna
    import sqlalchemy

    sqlite = {"connect_args": {"timeout": LOCK_SECONDS}} if url.startswith("sqlite") else {}
    for last in (False, False, False, True):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "experimental"
                storage = optuna.storages.RDBStorage(
                    url, engine_kwargs=sqlite, heartbeat_interval=beat_seconds, grace_period=grace_seconds
                )
            break
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, ValueError) as error:
            if last:
                reason = str(error.__cause__ or error).splitlines()[0]
                raise UserError(f"--study: the database cannot be opened ({reason}); check its URL.") from error
            time.sleep(1 + random.random())  # two processes make the tables at the same moment: one of them fails
    if sqlite:
        lock_when_reading(storage.engine)
    return storage


def lock_when_reading(engine: Any) -> None:
    """SQLite knows no SELECT ... FOR UPDATE, so two processes could both see a trial waiting and take it.

    Every transaction takes the write lock at its beginning instead (seen: 74 claims of 60 trials by 4 processes without
    it, 60 with it).
    """
    from sqlalchemy import event

    @event.listens_for(engine, "connect")
    def leave_begin_to_us(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections made so far know nothing of it
