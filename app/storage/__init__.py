"""Storage: the audit trail, the state that workers share, and the file of tokens.

Rule of this room: the only one that imports a database or Redis driver. It looks
at `gateway`, whose ports it fulfils, at `host`, and at nobody else.

    open_trail ── QueuedTrail ── Writer (one thread) ── SqliteStore ── the file
    AuditReader ───────────────────────────────────────── read only ─────┘

`trail` opens what its URL names. `audit` writes through the port `Store`, which
`sqlite` fulfils. `shared` fulfils the port `SharedState`, `tokens` the port
`TokenStore`.
"""
