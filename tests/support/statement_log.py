# SPDX-License-Identifier: Apache-2.0
"""What was asked of Postgres, as its log has it."""
import re

STATEMENT = re.compile(r"\[(\d+)\] LOG:  (?:statement|execute [^:]*): (.*)")


class StatementLog:
    """Of one database's connections that are told by a statement they make, from now on."""

    def __init__(self, postgres, database, told_by):
        """told_by: how that statement begins."""
        self.postgres = postgres
        self.told_by = told_by
        name = database[0].rsplit("/", 1)[1]
        database[1].cursor().execute(f"ALTER DATABASE {name} SET log_statement = 'all'")
        self.begin = len(postgres.process.log_text())

    def since(self):
        """The statements since the call before, one text for each."""
        text = self.postgres.process.log_text()
        found = STATEMENT.findall(text[self.begin:])
        self.begin = len(text)
        connections = {pid for pid, statement in found if statement.startswith(self.told_by)}
        return [statement for pid, statement in found if pid in connections]
