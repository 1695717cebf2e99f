"""One chain, walked again: its records in any order, in bounded memory."""

import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.audit_records import decision, linked

from remit.audit.chain.chain import DECISIONS, ChainId, Head, Row, genesis
from remit.audit.chain.signing import Checkpoint, PublicKey
from remit.audit.verify import chain_walk
from remit.audit.verify.chain_walk import ChainWalk
from remit.audit.verify.claims import NEVER, PAGE, Claim, Claims
from remit.audit.verify.diagnosis import findings
from remit.audit.verify.finding import AuditFinding, FindingKind
from remit.audit.verify.keyring import Keyring
from remit.audit.verify.walk import Meter, walk

CHAIN = ChainId(DECISIONS, "acme", "node-1")
KEY = PublicKey(b"k" * 32)
HEAD, ROWS = linked([decision() for _ in range(60)], genesis(CHAIN))


def walked(batches: list[list[Row]], *claims: Claim, keys: Iterable[PublicKey] = ()) -> ChainWalk:
    ends = (Claim(*HEAD, "the head", FindingKind.HEAD), Claim(HEAD.seq + 1, None, "the head", FindingKind.INSERTED))
    found = ChainWalk(CHAIN, genesis(CHAIN), Claims([*ends, *claims]), Keyring(keys))
    walk(DECISIONS, batches, lambda chain: found, Meter(len(ROWS), None))
    return found


def found_in(rows: list[Row], *claims: Claim) -> list[AuditFinding]:
    return list(findings(walked([rows], *claims), headed=True, signed_until=None))


@given(order=st.permutations(ROWS), size=st.integers(1, 60))
@settings(deadline=None, database=None)
def test_unbroken_chain_is_one_run_in_any_order_of_records(order: list[Row], size: int) -> None:
    found = walked([order[start : start + size] for start in range(0, len(order), size)])

    assert (1, HEAD) == (len(found.runs), Head(found.upto, bytes.fromhex(found.runs[0].hex)))
    assert [] == list(findings(found, headed=True, signed_until=None))


@given(order=st.permutations(ROWS), at=st.integers(1, 60))
@settings(deadline=None, database=None)
def test_each_claim_is_checked_in_any_order_of_records(order: list[Row], at: int) -> None:
    (found,) = found_in(list(order), Claim(at, b"another", "a head kept elsewhere", FindingKind.REWRITTEN))

    assert (FindingKind.REWRITTEN, at, ROWS[at - 1][0]) == found[1:4]


@given(order=st.permutations(ROWS), gone=st.sets(st.integers(0, 59), min_size=1))
@settings(deadline=None, database=None)
def test_the_first_gap_is_named_whatever_the_order(order: list[Row], gone: set[int]) -> None:
    missing = {ROWS[at][0] for at in gone}
    (found,) = found_in([row for row in order if row[0] not in missing])

    assert (FindingKind.REMOVED, min(gone) + 1) == found[1:3]


@given(order=st.permutations(ROWS), seqs=st.sets(st.integers(1, 60), min_size=1, max_size=4))
@settings(deadline=None, database=None)
def test_the_first_record_without_a_signature_is_known_whatever_the_order(order: list[Row], seqs: set[int]) -> None:
    statements = (Checkpoint(*CHAIN, seq, ROWS[seq - 1][-1], *genesis(CHAIN), 0, KEY.id) for seq in seqs)
    claims = [Claim(each.seq, each.hash, "a checkpoint", FindingKind.REWRITTEN, each) for each in statements]
    found = walked([order], *claims, keys=[KEY])
    first = found.first_unsigned

    assert found.signed is not None
    assert max(seqs) == found.signed.seq
    assert (None if max(seqs) == HEAD.seq else ROWS[max(seqs)][0]) == (None if first is None else first.id)


def test_verify_fails_if_a_chain_needs_too_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_walk, "_MOST_RUNS", 5)
    far_apart = ROWS[0::2] + ROWS[1::2]
    whole = walked([far_apart])
    (found,) = findings(whole, headed=True, signed_until=None)

    assert len(whole.runs) <= 5
    assert FindingKind.UNVERIFIED is found.kind
    assert "too far out of order" in found.text
    (removed,) = found_in([row for row in far_apart if row[-2] != 4])
    assert (FindingKind.REMOVED, 4) == removed[1:3]


def test_claims_are_read_one_page_at_a_time() -> None:
    seqs = list(range(10, 10 + 7 * PAGE * 3, 7))
    asked: list[int] = []

    def page(seq: int) -> list[Claim]:
        asked.append(seq)
        return [claim(each) for each in seqs if each >= seq][:PAGE]

    claims = Claims([claim(5), claim(24), claim(1 << 40)], page)
    every = sorted({*seqs, 5, 24, 1 << 40})
    for seq in every:
        assert [seq] * (2 if seq == 24 else 1) == [each.seq for each in claims.at(seq)]
        assert [] == claims.at(seq + 1)
        assert next((each for each in every if each > seq), NEVER) == claims.next_from(seq + 1)
    assert len(asked) <= len(seqs) / PAGE + 2
    rng = random.Random(3)
    for seq in rng.choices(range(seqs[-1] + 100), k=300):
        assert next(each for each in every if each >= seq) == claims.next_from(seq)


def claim(seq: int) -> Claim:
    return Claim(seq, b"", "", FindingKind.REWRITTEN)


@pytest.mark.parametrize("value", [None, 1.5, "1", b"1", True, ["x"]])
def test_field_of_another_type_never_gives_the_records_text(value: Any) -> None:
    for at, name in enumerate(decision()._fields):
        if (
            name in {"tenant", "node"}
            or type(value) is type(ROWS[5][at])
            or (value is True and type(ROWS[5][at]) is int)
        ):
            continue
        row = (*ROWS[5][:at], value, *ROWS[5][at + 1 :])
        (found,) = found_in([*ROWS[:5], row, *ROWS[6:]])
        assert (FindingKind.ALTERED, 6) == found[1:3], name
