"""The server: gunicorn's worker, its connections and threads, and the hooks.

Rule of this room: the only one that imports gunicorn. It looks at the core, at `host`,
at the doors for the words of a refusal, and in its hooks at settings and wiring.
"""
