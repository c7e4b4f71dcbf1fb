"""Next steps: what to do about each thing that keeps the gateway from being well.

Sentences for whoever is woken. The console, the status and `doctor` show the same.
"""

from collections.abc import Mapping

# What is wrong with the audit, in words, and what helps; by the reason of the trail.
AUDIT: Mapping[str, tuple[str, str]] = {
    "disk_full": (
        "its disk is full",
        "Make room on the disk of VX11_AUDIT_URL: less than 4 MB are left.",
    ),
    "locked": (
        "another process holds its database",
        "Find that process and end it: `fuser` on the database names it.",
    ),
    "read_only": (
        "its database cannot be written to",
        "Make database, folder and file system writable for the gateway's user.",
    ),
    "deleted": (
        "its database is gone",
        "Put it back: mount its volume, or stop the gateway and `restore` a backup.",
    ),
    "replaced": (
        "its database was replaced by an older one",
        "Put the newest one back, or keep a copy of what is there, stop the gateway "
        "and `restore` the newest backup.",
    ),
    "corrupt": (
        "its database was tampered with, or is damaged",
        "Keep a copy of the files, run `records verify`, stop the gateway and "
        "`restore` a backup.",
    ),
    "stuck": (
        "its disk does not answer",
        "Look at the disk and at what else uses it (`dmesg`, `iostat`).",
    ),
    "unreachable": (
        "its database server does not answer",
        "Look after PostgreSQL; chats go on by themselves once it answers.",
    ),
    "not_replicated": (
        "its standby does not take what is committed",
        "Look after the standby of PostgreSQL.",
    ),
    "unsuitable": (
        "its database server may lose what it has committed, or is too old",
        "The log names the setting; see docs/several-hosts.md.",
    ),
    "io_error": ("its disk reports errors", "Look at the disk (`dmesg`)."),
    "no_key": ("its key is missing", "Put the .key beside the database back."),
    "open_key": (
        "its key is open to others, or belongs to somebody else",
        "Set its mode to 0600 and its owner to the gateway's user.",
    ),
    "wrong_key": (
        "its key is that of another database",
        "Give the key that the database was begun with.",
    ),
    "unreadable": (
        "its database cannot be read",
        "Let the gateway's user read and write database and folder.",
    ),
}
# What an upstream does wrong, as far as it helps to know; by the class of the fault.
FAULTS: Mapping[str, str] = {
    "connect_refused": "nothing listens at its address",
    "connect_timeout": "its host does not answer",
    "dns": "nobody knows its name",
    "tls_verify": "its certificate is not to be trusted",
    "tls_expired": "its certificate has expired",
    "read_timeout": "it does not answer in time",
    "silent": "it does not answer in time",
    "upstream_auth": "it rejects our credentials",
    "quota": "it says that our quota is used up",
    "http_5xx": "it answers with errors of its own",
    "reset": "it breaks connections off",
}
_UPSTREAM = "Look after that upstream; it is used again as soon as it answers."
# By the class of the fault, before what follows from the code.
_BY_FAULT: Mapping[str, str] = {
    "connect_refused": "Look after that upstream: start it, or mend its url in the "
    "settings; it is used again as soon as it answers.",
    "connect_timeout": "Look after that upstream: is its host up, and does a firewall "
    "let us through?",
    "tls_expired": "Renew the certificate of that upstream.",
    "tls_verify": "Give that upstream a certificate that VX11_TLS_CA vouches for.",
    "upstream_auth": "Show that upstream a token or key that it takes "
    "(GatewayCredentialsRejected in docs/operating.md).",
    "quota": "Ask whoever runs that upstream for more.",
    "dns": "Mend the name in the upstream's URL, or the resolver of this host.",
}
_BY_CODE: Mapping[str, str] = {
    "shutting_down": "Wait for it to stop, then start it.",
    "audit_unavailable": "Mend what keeps the audit from being written (The audit "
    "database in docs/operating.md).",
    "audit_best_effort": "Set VX11_AUDIT_MODE to required again and send HUP, once "
    "records can be written.",
    "audit_unsigned": "Run `records verify`, then see GatewayAuditUnsigned in "
    "docs/operating.md.",
    "audit_slow": "Wait some seconds; if it comes back, look at what else uses that "
    "disk (`iostat`).",
    "audit_log_large": "End whoever reads the database for so long: `fuser` names it.",
    "audit_disk_low": "Make room on the disk of VX11_AUDIT_URL, or rotate the records.",
    "tokens_stale": "Run `token list`; it names the mistake in the file of tokens.",
    "settings_stale": "Run `config check`, mend what it names, and send HUP again.",
    "workers_die": "Read the log for `Worker`: out of memory (`dmesg`), a crash, or "
    "somebody who kills them.",
    "clock_stepped": "Let the host's clock be kept by NTP; deadlines do not depend on "
    "it, but times on record do.",
    "no_upstream": "Look after the upstreams; each is asked again by itself.",
    "failing": "Look at why that upstream fails: `records search --failed`.",
    "circuit_open": "Look after that upstream; it is asked again by itself.",
    "resting": "Wait, or ask whoever runs that upstream for more.",
    "unanswered": "Look at the upstreams: `records search --failed`.",
}


def next_step(code: str, cause: str = "") -> str:
    """Return what to do about a reason; `cause` is the audit's, or a fault's class."""
    if code == "audit_unavailable" and cause in AUDIT:
        return f"{AUDIT[cause][1]} Chats are taken again within 5 s."
    return _BY_FAULT.get(cause) or _BY_CODE.get(code, _UPSTREAM)


def told_fault(fault: str) -> str:
    """Return the class of a fault, with words where there are some."""
    return f"{FAULTS[fault]} ({fault})" if fault in FAULTS else fault
