"""What was done to a trail, and who finds it: the command, and a stranger without key.

The stranger has docs/verify.py and nothing of ours.
"""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from app.storage.audit.rows import closed, closed_draft, opened, word_digests
from app.storage.audit.schema import CONTENT
from app.storage.chain.anchors import anchors_in
from app.storage.trail import open_backend
from tests.storage.chain.lanes import LANES, Lanes, anchors_of
from tests.storage.making import ROOT, a_closing, an_intent, record_one

KEY = b"a key of a test, long enough"


@pytest.fixture
def lanes(url, path):
    open_backend(url, KEY).trail().close()
    lanes = Lanes(path, KEY)
    lanes.write(rounds=4)
    return lanes


@pytest.fixture
def anchors(tmp_path):
    return tmp_path / "anchors"


def command(path, anchors=None):
    noted = anchors_in(anchors.read_text().splitlines()) if anchors else ()
    return open_backend(f"sqlite:///{path}", KEY).verify(noted=noted).reason


def stranger(path, anchors=None):
    options = ["--anchors", anchors] if anchors else []
    script = [sys.executable, "-I", ROOT / "docs/verify.py", path, *options]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout.startswith("Sound: " if done.returncode == 0 else "NOT SOUND: ")
    return done.stdout if done.returncode else None


def edited(lanes, lane=2):
    lanes.do(f"UPDATE records SET reply = '{{}}' WHERE lane = {lane} AND seq = 5")


def removed(lanes):
    lanes.do("DELETE FROM records WHERE lane = 2 AND seq = 5")


def swapped(lanes):
    lanes.do(
        "UPDATE records SET seq = 500 WHERE lane = 2 AND seq = 5",
        "UPDATE records SET seq = 5 WHERE lane = 2 AND seq = 6",
        "UPDATE records SET seq = 6 WHERE lane = 2 AND seq = 500",
    )


def moved_to_another_lane(lanes):
    lanes.do(
        "DELETE FROM records WHERE lane = 1 AND seq = 5",
        "UPDATE records SET lane = 1 WHERE lane = 2 AND seq = 5",
    )


def tail_cut(lanes):
    lanes.do("DELETE FROM records WHERE lane = 2 AND seq > 20")


def tail_cut_and_old_head_put_back(lanes):
    old = next(head for head in lanes.noted if head.lane == 2)
    lanes.do(f"DELETE FROM records WHERE lane = 2 AND seq > {old.seq}")
    lanes.put(2, old)


def lane_removed(lanes):
    lanes.do("DELETE FROM records WHERE lane = 2", "DELETE FROM chain WHERE id = 2")


def edited_and_hashed_anew(lanes):
    edited(lanes)
    lanes.hash_anew(2)


def edited_without_knots_and_all_hashed_anew(lanes):
    edited(lanes)
    lanes.do("DELETE FROM records WHERE route = 'knot'")
    for lane in LANES:
        lanes.hash_anew(lane)


def pruned_with_a_false_floor(lanes):
    lanes.do(
        "DELETE FROM records WHERE lane = 2 AND seq <= 5",
        "UPDATE chain SET floor_seq = 5, floor_digest = zeroblob(32) WHERE id = 2",
    )


def pruned_with_a_true_floor_and_no_word_of_it(lanes):
    digest = lanes.rows(2)[4]["digest"].hex()
    lanes.do(
        "DELETE FROM records WHERE lane = 2 AND seq <= 5",
        f"UPDATE chain SET floor_seq = 5, floor_digest = x'{digest}' WHERE id = 2",
    )


def words_erased_and_no_word_of_it(lanes):
    erase(lanes, 2, 5)


def words_erased_beside_their_salt(lanes):
    lanes.do("UPDATE records SET request = NULL WHERE lane = 2 AND seq = 5")


def slipped_in_behind_the_head(lanes):
    lanes.do("UPDATE records SET seq = 1000 WHERE lane = 2 AND seq = 5")


def slipped_in_as_a_lane_of_its_own(lanes):
    lanes.do("UPDATE records SET lane = 9 WHERE lane = 2 AND seq = 36")


FOUND = (
    edited,
    removed,
    swapped,
    moved_to_another_lane,
    tail_cut,
    tail_cut_and_old_head_put_back,
    lane_removed,
    edited_and_hashed_anew,
    pruned_with_a_false_floor,
    pruned_with_a_true_floor_and_no_word_of_it,
    words_erased_and_no_word_of_it,
    words_erased_beside_their_salt,
    slipped_in_behind_the_head,
    slipped_in_as_a_lane_of_its_own,
)


def erase(lanes, lane, seq):
    row = lanes.rows(lane)[seq - 1]
    digests = word_digests([row[name] for name in CONTENT], row["salt"])
    lanes.do(
        "UPDATE records SET request = NULL, reply = NULL, salt = NULL,"
        f" request_digest = x'{digests[0].hex()}', reply_digest = x'{digests[1].hex()}'"
        f" WHERE lane = {lane} AND seq = {seq}"
    )


def tell(lanes, lane, said, **floor):
    intent = an_intent(route="retention", request=json.dumps(said))
    ending = closed(a_closing(outcome="event"))
    lanes.append(lane, [closed_draft(opened(intent, "w"), ending)], **floor)


def prune(lanes, lane, seq):
    digest = lanes.rows(lane)[seq - 1]["digest"]
    lanes.do(f"DELETE FROM records WHERE lane = {lane} AND seq <= {seq}")
    said = {"floor": [lane, seq, digest.hex()]}
    tell(lanes, lane, said, floor_seq=seq, floor_digest=digest)


@pytest.mark.parametrize("check", [command, stranger])
def test_an_honest_trail_is_sound(check, lanes, path, anchors):
    anchors.write_text(anchors_of(lanes.noted))

    assert check(path) is None
    assert check(path, anchors) is None


@pytest.mark.parametrize("check", [command, stranger])
@pytest.mark.parametrize("tampering", FOUND, ids=lambda one: one.__name__)
def test_tampering_is_found_with_and_without_an_anchor(
    tampering, check, lanes, path, anchors
):
    anchors.write_text(anchors_of(lanes.noted))

    tampering(lanes)

    assert check(path)
    assert check(path, anchors)


def test_a_trail_that_was_made_anew_as_a_whole_needs_the_key_or_an_anchor(
    lanes, path, anchors
):
    anchors.write_text(anchors_of(lanes.noted))

    edited_without_knots_and_all_hashed_anew(lanes)

    assert stranger(path) is None
    assert stranger(path, anchors)
    assert command(path)
    assert command(path, anchors)


@pytest.mark.parametrize("check", [command, stranger])
def test_what_was_erased_and_pruned_by_the_rules_is_sound(check, lanes, path, anchors):
    anchors.write_text(anchors_of(lanes.noted))
    for seq in range(12, 18):
        erase(lanes, 2, seq)
    tell(lanes, 1, {"erased": [[2, 12, 14], [2, 15, 17]]})
    prune(lanes, 2, 10)
    prune(lanes, 1, 9)

    assert check(path) is None
    assert check(path, anchors) is None


@pytest.mark.parametrize("check", [command, stranger])
@pytest.mark.parametrize("said", [{"erased": "x"}, {"floor": 7}, [], {"floor": [1]}])
def test_a_record_of_a_retention_that_says_nothing_is_a_flaw(said, check, lanes, path):
    tell(lanes, 1, said)

    assert check(path)


@pytest.mark.parametrize("check", [command, stranger])
def test_a_backup_of_yesterday_is_found_with_an_anchor(check, url, path, anchors):
    backend = open_backend(url, KEY)
    trail = backend.trail()
    record_one(trail)
    trail.close()
    yesterday = path.read_bytes()
    trail = backend.trail()
    record_one(trail)
    trail.close()
    anchors.write_text(anchors_of(backend.verify().heads))
    path.write_bytes(yesterday)

    assert check(path) is None
    assert "put back to an earlier state" in check(path, anchors)


@pytest.mark.parametrize("check", [command, stranger])
def test_two_anchors_of_one_place_that_differ_are_found(check, lanes, path, anchors):
    first = lanes.noted[0]
    anchors.write_text(anchors_of([first, replace(first, digest=bytes(32))]))

    assert check(path, anchors)


def test_a_stranger_reads_a_file_that_is_none(tmp_path):
    letter = tmp_path / "letter"
    letter.write_text("This is a letter. " * 100)
    script = [sys.executable, "-I", ROOT / "docs/verify.py"]
    for words in ([letter], [tmp_path / "none"], [letter, "--head", "x"]):
        done = subprocess.run(
            [*script, *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "It cannot be read" in done.stderr
