"""The order in which records may go."""

from collections import defaultdict
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from remit.audit.retention.resequencer import DecisionChain, PurgedRecord, Resequencer

CHAINS = (DecisionChain("acme", "n1"), DecisionChain("acme", "n2"), DecisionChain("globex", "n1"))


def met(whose: DecisionChain, seq: int) -> PurgedRecord:
    return PurgedRecord(f"{whose}{seq}".encode(), whose, seq, b"")


@given(
    lengths=st.tuples(*[st.integers(0, 30)] * 3),
    gone=st.tuples(*[st.integers(0, 5)] * 3),
    room=st.integers(1, 40),
    random=st.randoms(use_true_random=False),
)
def test_every_record_passes_once_in_the_order_of_its_chain(
    lengths: tuple[int, ...], gone: tuple[int, ...], room: int, random: Random
) -> None:
    """In any order of reading; no more records wait than there is room for."""
    behind = dict(zip(CHAINS, gone, strict=True))
    left = [
        met(whose, behind[whose] + 1 + number)
        for whose, length in zip(CHAINS, lengths, strict=True)
        for number in range(length)
    ]
    random.shuffle(left)
    handed: defaultdict[DecisionChain, list[int]] = defaultdict(list)
    rounds = 0
    while True:
        prefixes = Resequencer({whose: behind[whose] + len(handed[whose]) for whose in CHAINS}, room)
        for record in left:
            for each in prefixes.receive(record):
                handed[each.whose].append(each.seq)
            assert len(prefixes.waiting) <= room * len(CHAINS)
        left = [record for record in left if record.seq not in handed[record.whose]]
        rounds += 1
        assert rounds <= 1 + sum(lengths)
        if not prefixes.overlooked:
            break
    assert [] == left == prefixes.waiting
    for whose, length in zip(CHAINS, lengths, strict=True):
        assert list(range(behind[whose] + 1, behind[whose] + 1 + length)) == handed[whose]


def test_resequencer_stops_at_a_missing_record() -> None:
    prefixes = Resequencer({})
    chain = CHAINS[0]
    assert [1, 2] == [each.seq for seq in (2, 4, 1, 5) for each in prefixes.receive(met(chain, seq))]
    assert [4, 5] == [each.seq for each in prefixes.waiting]


def test_duplicate_place_delays_no_other_record() -> None:
    """An inserted record, which verify finds, ages like any other."""
    prefixes = Resequencer({})
    chain = CHAINS[0]
    assert [1, 1, 2, 3, 3, 2] == [each.seq for seq in (1, 1, 3, 2, 3, 2) for each in prefixes.receive(met(chain, seq))]


def test_a_record_outside_of_any_chain_waits_for_none() -> None:
    prefixes = Resequencer({})
    assert [0] == [each.seq for each in prefixes.receive(met(CHAINS[0], 0))]
