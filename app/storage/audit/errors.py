"""Errors of a store, whatever backend it is.

StoreFailed            writing does not work now; `reason` says why
└── UnusableDatabase   nor will it, until an operator does something
RowRefused             this very row can't be written; others can
NoKey                  a backend without a key of its own was given none
"""


class StoreFailed(Exception):
    """The store cannot write at the moment.

    `reason` is one word that callers may see: locked, disk_full, read_only,
    corrupt, deleted, replaced, no_key, open_key, wrong_key, unreadable, io_error,
    unreachable, not_replicated, unsuitable or internal_error. The text is for logs and
    names files.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class UnusableDatabase(StoreFailed):
    """The file must not be written to; its text tells an operator what to do.

    The file is left exactly as it was found.
    """


class RowRefused(Exception):
    """The database refused a row for what it holds or because it is sealed."""


class NoKey(ValueError):
    """The backend needs the chain's key from the settings."""
