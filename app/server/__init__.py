"""The server: gunicorn's worker, its connections and its threads.

Rule of this room: the only one that imports gunicorn. It looks at the core, at `host`,
and at the doors for the words of a refusal.
"""
