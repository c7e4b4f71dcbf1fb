"""Handover: what gunicorn's master found good, for the workers that it makes later.

A worker in the place of one that died begins whenever that happens. What the files
hold at that moment may be half edited or gone, and is none of its business: they are
read at a start and at a SIGHUP, where somebody looks.
"""

import json
import os
from dataclasses import asdict, dataclass

from app.settings.names import HANDED

START, RELOAD = "start", "reload"


@dataclass(frozen=True, slots=True)
class Handover:
    """Texts: `config` of the file VX11_CONFIG, `tokens` of that of the tokens.

    None where there is no such file. `head` is the newest of the audit that workers
    have seen, None before the first. `news` is what this
    worker is to put on record of the gateway as a whole: START, RELOAD or nothing.
    """

    config: str | None = None
    tokens: str | None = None
    head: str | None = None
    news: str = ""

    def hand_over(self) -> None:
        """Let this process, a new worker's, find them with `handed`."""
        os.environ[HANDED] = json.dumps(asdict(self))


def handed() -> Handover | None:
    """Return what this process was handed; None for one that nobody made."""
    text = os.environ.get(HANDED)
    return Handover(**json.loads(text)) if text else None
