"""The memory: the audit trail on disk.

Rule of this room: the only one that imports a database or Redis driver. It looks
at `gateway`, whose port `Trail` it fulfils, and at nobody else.

    open_trail ── QueuedTrail ── Writer (one thread) ── SqliteStore ── the file
    AuditReader ───────────────────────────────────────── read only ─────┘

`schema`, `records`, `chain`, `entry`, `writer` and `trail` know no backend;
`sqlite`, `sqlite_store`, `orphans`, `files`, `preparation`, `workers` and `witness`
hold everything that is SQLite's own.

`shared_memory`, `region` and `slots` hold what the workers of a host share while they
run; it fulfils the port `SharedState`.
"""
