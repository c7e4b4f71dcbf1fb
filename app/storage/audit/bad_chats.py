"""Bad chats: which records are of chats that went wrong, and in which of three ways.

A caller's own mistake (a status from 400 to 499) is none of them, and neither is a
chat that its caller gave up.
"""

import sqlalchemy as sa

from app.gateway.replay.origin import REPLAY
from app.storage.audit.schema import records

_FIRST_OF_OURS = 500  # statuses from here on are no mistakes of callers
_FIRST_OF_THEIRS = 400
REPEATS = '{"repeats":'  # how the record of refusals that were only counted begins

_status = sa.func.coalesce(records.c.status, _FIRST_OF_OURS)

# Somebody else than the first choice was to answer.
DEGRADED = records.c.degraded_by.is_not(None)
# Nobody answered, or not to the end, though the chat had been taken on. A replay is
# nobody's chat; it never falls back, nor is it refused on record.
UNANSWERED = sa.and_(
    records.c.route != REPLAY,
    records.c.outcome.in_(("failed", "interrupted")),
    sa.or_(_status < _FIRST_OF_THEIRS, _status >= _FIRST_OF_OURS),
)
# The gateway itself did not take the chat on.
REFUSED = sa.and_(records.c.outcome == "refused", _status >= _FIRST_OF_OURS)
FAILED = sa.or_(UNANSWERED, REFUSED)

# Of how many refusals a record is.
REFUSALS = sa.case(
    (
        records.c.request.startswith(REPEATS, autoescape=True),
        sa.cast(
            sa.func.replace(sa.func.replace(records.c.request, REPEATS, ""), "}", ""),
            sa.Integer,
        ),
    ),
    else_=1,
)
