"""ExcerptOf: the beginning of a question, as each database takes it out of JSON."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from app.gateway.records.audit import EXCERPT


class ExcerptOf(GenericFunction[str]):
    """The beginning of the newest question in a request, so that no whole words leave.

    None for a request that is none of a chat.
    """

    type = sa.Text()
    inherit_cache = True
    _register = False  # a worker imports this once more than its master


@compiles(ExcerptOf, "sqlite")
def _excerpt_in_sqlite(element: ExcerptOf, compiler: Any, **options: Any) -> str:
    (request,) = element.clauses
    turns = sa.func.json_each(request, "$.messages").table_valued("key", "value")
    role, said = (sa.func.json_extract(turns.c.value, f"$[{n}]") for n in (0, 1))
    newest = (
        sa.select(sa.func.substr(said, 1, EXCERPT))
        .select_from(turns)
        .where(role == "user")
        .order_by(turns.c.key.desc())
        .limit(1)
        .scalar_subquery()
    )
    found = sa.case((sa.func.json_valid(request) == 1, newest))
    return str(compiler.process(found, **options))


@compiles(ExcerptOf, "postgresql")
def _excerpt_in_postgresql(element: ExcerptOf, compiler: Any, **options: Any) -> str:
    (request,) = element.clauses
    return str(compiler.process(sa.func.excerpt_of(request, EXCERPT), **options))
