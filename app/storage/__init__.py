"""Storage: the audit trail, the state that workers share, and the file of tokens.

Rule of this room: the only one that imports a database driver. It looks
at `gateway`, whose ports it fulfils, at `host`, and at nobody else.

    open_backend ── SqliteBackend
      trail() ── QueuedTrail ── Writer (one thread) ── SqliteStore ── the file
      records(), activity(), verify() ─────────────────── read only ─────┘

`trail` opens the `AuditBackend` that its URL's scheme names: nobody outside of this
room knows whether there are files. `audit` writes through the port `Store`, which
`sqlite` and, for several hosts, `postgres` fulfil; `postgres`, which is imported with
such a URL only, fulfils the port `Pools`, too. Answers that are kept lie with the
records, or in `kept`. `shared` fulfils the port `SharedState`, `tokens` the port
`TokenStore`.
"""
