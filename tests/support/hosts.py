"""Several gateways on one PostgreSQL, as hosts of their own: folders, ports, cables."""

from pathlib import Path

import psycopg
from psycopg.rows import dict_row

from app.storage.trail import open_backend
from tests.support.stack import Gateway

KEY = "a key that the hosts of a test share"


class Host(Gateway):
    """A gateway with a state folder of its own, on a database that others use too.

    `port` is where it finds the database: the server's, or that of its cable.
    """

    def __init__(self, folder, server, database, port=None, **settings):
        folder = Path(folder)
        folder.mkdir(exist_ok=True)
        self.database = server.url(database)
        url = self.database.replace(f":{server.port}/", f":{port or server.port}/")
        own = {"audit_url": url, "audit_key": KEY, "state_dir": folder}
        super().__init__(folder, **own | settings)

    def records(self, where="true", *parameters):
        with psycopg.connect(self.database, row_factory=dict_row) as connection:
            query = f"SELECT * FROM records WHERE {where} ORDER BY id"
            return connection.execute(query, parameters or None).fetchall()

    def backend(self):
        return open_backend(self.database, KEY.encode())
