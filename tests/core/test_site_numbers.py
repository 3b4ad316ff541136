"""Numbers of sites."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rt_flare.core.site_numbers import number_sites


def test_a_site_has_the_number_of_its_shard() -> None:
    """J8: client_n.log belongs to shard n."""
    assert number_sites(["b", "a"], {"a": 2, "b": 1}) == {"a": 2, "b": 1}


def test_the_others_get_what_is_free_in_the_order_of_their_names() -> None:
    """J8: site-10 comes after site-9."""
    sites = [f"site-{n}" for n in (10, 9, 1, 2)]
    assert number_sites(sites, {}) == {"site-1": 1, "site-2": 2, "site-9": 3, "site-10": 4}
    assert number_sites(["c", "a", "b"], {"b": 1, "gone": 2}) == {"b": 1, "a": 3, "c": 4}


@given(st.sets(st.text(alphabet="ab1-", min_size=1, max_size=4)), st.integers(0, 3))
def test_every_site_has_a_number_of_its_own(sites: set[str], num_given: int) -> None:
    """J8: from 1 on."""
    given_numbers = {site: 2 * i + 1 for i, site in enumerate(sorted(sites)[:num_given])}
    numbers = number_sites(list(sites), given_numbers)
    assert set(numbers) == sites
    assert len(set(numbers.values())) == len(sites)
    assert all(number >= 1 for number in numbers.values())
