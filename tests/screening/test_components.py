import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vl_pipeline.screening import components
from vl_pipeline.screening.components import Components


def grouped(num_things: int, pairs: list[tuple[int, int]]) -> list[int]:
    groups = Components(num_things)
    for one, other in pairs:
        groups.join(np.array([one]), np.array([other]))
    return groups.first_members().tolist()


def test_chain_is_one_group_whatever_its_ends():
    assert grouped(4, [(3, 2), (2, 1)]) == [0, 1, 1, 1]  # 1 ~ 2 ~ 3, though 1 and 3 never met


def test_nothing_joined_leaves_each_by_itself():
    assert grouped(3, []) == [0, 1, 2]
    assert grouped(0, []) == []


PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=15)


@given(PAIRS, st.randoms())
def test_order_of_pairs_and_of_their_sides_does_not_matter(pairs, random):
    shuffled = [pair if random.random() < 0.5 else pair[::-1] for pair in pairs]
    random.shuffle(shuffled)

    assert grouped(10, pairs) == grouped(10, shuffled)


@given(PAIRS)
def test_merging_often_equals_merging_once(pairs):
    once = grouped(10, pairs)
    kept, components._JOIN_AT_ONCE = components._JOIN_AT_ONCE, 0
    try:
        often = grouped(10, pairs)
    finally:
        components._JOIN_AT_ONCE = kept

    assert once == often


@given(PAIRS)
def test_first_member_is_the_smallest_that_can_be_reached(pairs):
    groups = {n: {n} for n in range(10)}
    for one, other in pairs:  # slow and literal: unite sets
        union = groups[one] | groups[other]
        for member in union:
            groups[member] = union

    assert [min(groups[n]) for n in range(10)] == grouped(10, pairs)
