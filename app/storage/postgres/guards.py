"""Guards: the triggers on the records, as a look into the catalogue finds them.

A guard against accidents; the proof is the chain.
"""

_REFUSE = """
BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'check_violation'; END
"""


def _guard(name: str, event: str, refusal: str) -> str:
    return (
        f"the trigger {name}: CREATE TRIGGER {name} BEFORE {event}"
        f" EXECUTE FUNCTION records_refuse('{refusal}') O {_REFUSE.strip()}"
    )


GUARDS = {
    _guard(
        "records_stay",
        "DELETE ON records FOR EACH ROW",
        "audit records are not deleted",
    ),
    _guard(
        "records_whole",
        "TRUNCATE ON records FOR EACH STATEMENT",
        "audit records are not deleted",
    ),
    _guard(
        "records_sealed",
        "UPDATE ON records FOR EACH ROW WHEN (old.seq IS NOT NULL)",
        "sealed audit records do not change",
    ),
}
