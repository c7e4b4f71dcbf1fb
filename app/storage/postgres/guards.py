"""Guards: the triggers on the records, as a look into the catalogue finds them.

A guard against accidents; the proof is the chain.
"""

_REFUSE = """
BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'check_violation'; END
"""
_STAY = """
BEGIN
    IF OLD.seq <= (SELECT floor_seq FROM chain WHERE id = OLD.lane) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit records are not deleted' USING ERRCODE = 'check_violation';
END
"""
_SEALED = """
DECLARE
    same records := NEW;
BEGIN
    same.request := OLD.request;
    same.reply := OLD.reply;
    same.salt := OLD.salt;
    same.request_digest := OLD.request_digest;
    same.reply_digest := OLD.reply_digest;
    IF same IS NOT DISTINCT FROM OLD
        AND num_nonnulls(NEW.request, NEW.reply, NEW.salt) = 0
        AND length(NEW.request_digest) = 32 AND length(NEW.reply_digest) = 32
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'sealed audit records do not change'
        USING ERRCODE = 'check_violation';
END
"""


def _guard(name: str, event: str, does: str, body: str) -> str:
    return (
        f"the trigger {name}: CREATE TRIGGER {name} BEFORE {event}"
        f" EXECUTE FUNCTION {does} O {body.strip()}"
    )


# A record goes only once the floor of its lane is above it, and its words only for
# their digests.
GUARDS = {
    _guard("records_stay", "DELETE ON records FOR EACH ROW", "records_stay()", _STAY),
    _guard(
        "records_whole",
        "TRUNCATE ON records FOR EACH STATEMENT",
        "records_refuse('audit records are not deleted')",
        _REFUSE,
    ),
    _guard(
        "records_sealed",
        "UPDATE ON records FOR EACH ROW WHEN (old.seq IS NOT NULL)",
        "records_sealed()",
        _SEALED,
    ),
}
