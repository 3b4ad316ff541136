"""Small entries go together, large ones stand alone, and nothing is lost (X2)."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from rt_flare.core.entry_groups import gather, group_entries, scatter
from rt_flare.core.state_dict import describe

SIZES = st.lists(st.sampled_from([0, 1, 3, 1000, 60_000, 65_536, 70_000]), max_size=12)


@given(sizes=SIZES, doubles=st.sets(st.integers(0, 11)))
def test_every_entry_comes_back_as_it_was(sizes: list[int], doubles: set[int]) -> None:
    """X2"""
    state = {
        f"e{number}": torch.full((size, 1), number, dtype=torch.float64 if number in doubles else torch.float32)
        for number, size in enumerate(sizes)
    }
    groups = group_entries((name, *spec) for name, spec in describe(state).items())
    assert sorted(name for group in groups for name in group) == sorted(state)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for group in groups:
        assert len({state[name].dtype for name in group}) == 1
        assert len(group) == 1 or sum(state[name].numel() for name in group) <= 1 << 18
        for name, tensor in scatter(gather(state, group), group, shapes).items():
            assert torch.equal(tensor, state[name])
            assert tensor.dtype == state[name].dtype


def test_entries_of_a_group_do_not_share_memory_afterwards() -> None:
    """X4: a file of one of them would hold all."""
    state = {"a": torch.ones(3), "b": torch.ones(2)}
    parts = scatter(gather(state, ["a", "b"]), ["a", "b"], {"a": (3,), "b": (2,)})
    assert parts["a"].untyped_storage().nbytes() == 12
