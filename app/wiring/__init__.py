"""Wiring: the one place where the parts meet.

The order of the policies, which `assembly` puts around each other:

    Admission(Metered(Audited(Idempotent(Cached(Counted(BoundSessions(...)))))))
    BoundSessions(ChatRouter(...))
    ChatRouter(Guarded(switch), Guarded(madre), Guarded(Retried(openai)), ...)

Nothing of a request is parsed before it has a slot, which covers all attempts; what
is counted is what callers get; those who get no slot are counted and on record too.
An answer that is said again is on record, and gives its slot back before it is said.
"""

from app.host.addresses import problem_at
from app.wiring.assembly import build_services, default_services
from app.wiring.checks import (
    AT_RESTART_ONLY,
    check_all,
    check_reload,
    load_checked,
    problems_of_files,
    require_free,
)
from app.wiring.commands import (
    Erased,
    OnProgress,
    Place,
    Verification,
    Whose,
    anchors_in,
    backtest_of,
    backup_records,
    begin_counts,
    erase_words,
    explained,
    export_records,
    newest_head,
    open_records,
    open_windows,
    parse_head,
    place_of_records,
    report_on,
    report_page,
    restore_records,
    run_post_task,
    search_records,
    server_logging,
    set_up_logging,
    token_store,
    verify_records,
)
from app.wiring.doubts import doubts_about
from app.wiring.keys import last_good_tokens
from app.wiring.parts import metrics_folder, shared

__all__ = [
    "AT_RESTART_ONLY",
    "Erased",
    "OnProgress",
    "Place",
    "Verification",
    "Whose",
    "anchors_in",
    "backtest_of",
    "backup_records",
    "begin_counts",
    "build_services",
    "check_all",
    "check_reload",
    "default_services",
    "doubts_about",
    "erase_words",
    "explained",
    "export_records",
    "last_good_tokens",
    "load_checked",
    "metrics_folder",
    "newest_head",
    "open_records",
    "open_windows",
    "parse_head",
    "place_of_records",
    "problem_at",
    "problems_of_files",
    "report_on",
    "report_page",
    "require_free",
    "restore_records",
    "run_post_task",
    "search_records",
    "server_logging",
    "set_up_logging",
    "shared",
    "token_store",
    "verify_records",
]
