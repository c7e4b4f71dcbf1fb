"""Exit codes: what each means, as the help of every command tells it."""

NO = 1
USAGE = 2
NAME = 3
UNFAITHFUL = 65  # EX_DATAERR
UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h, and so on
UNREADABLE = 74  # EX_IOERR
REFUSING = 75  # EX_TEMPFAIL
NOT_ALLOWED = 77  # EX_NOPERM
CONFIG = 78  # EX_CONFIG

MEANINGS = {
    NO: "no: see the command",
    USAGE: "the command line is wrong",
    NAME: "the name is taken, or there is no such token",
    UNFAITHFUL: "what is on record cannot be said or asked again as it was",
    UNAVAILABLE: "no gateway answers, or it refuses",
    REFUSING: "the gateway refuses chats, or nobody would answer them",
    UNREADABLE: "the records cannot be read",
    NOT_ALLOWED: "the gateway does not take the token",
    CONFIG: "a setting, or a file that it names, cannot be used",
}


def exit_codes(done: str, *codes: int, no: str = "", **others: str) -> str:
    """The table for a command's help: 0 is `done`, 1 is `no`, 2 is always there.

    Others as in MEANINGS, or by a word of their own as `_69="madre did not"`.
    """
    table = {code: MEANINGS[code] for code in (USAGE, *codes)}
    table |= {NO: no} if no else {}
    table |= {int(code[1:]): word for code, word in others.items()}
    lines = [f"{code:>4}  {table[code]}" for code in sorted(table)]
    return "\n".join(["\b", "Exit codes:", f"{0:>4}  {done}", *lines])
