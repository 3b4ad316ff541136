"""The gate before aggregation: an update is checked whole before anything of it is added."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

import torch

from rt_flare.core.claimed_size import claims_more_than_it_holds
from rt_flare.core.entry_groups import group_entries
from rt_flare.core.finite_check import first_not_finite
from rt_flare.core.sample_count import sample_count_problem
from rt_flare.core.state_dict import (
    StateDict,
    TensorSpec,
    check_fit,
    describe,
    fit_names,
    largest_magnitude,
    to_plain,
)
from rt_flare.core.wire_dtype import BFLOAT16, RestoredState, is_rounded, travel_specs
from rt_flare.errors import StateDictError, UpdateError

__all__ = ["MAX_ENTRIES", "MAX_NAME", "UpdateGate"]

MAX_ENTRIES = 100_000
"""Most entries of a state dict when there is no global model to compare with."""

MAX_NAME = 1_000
"""Longest name of an entry, in characters."""


class UpdateGate:
    """Decides which updates may take part in a round.

    Args:
        round_number: 0-based round that updates must belong to; None when the caller cannot know it.
        reference: names, shapes and dtypes of the global model; None or empty lets the first accepted update set
            them (a job that starts from its clients' weights).
        expected_sites: the sites that were asked; None accepts any site.
        base: the global model that the round started from, bit for bit as the sites received it; None when it is not
            known: then no update can come as a difference to it.
    """

    def __init__(
        self,
        round_number: int | None,
        reference: Mapping[str, TensorSpec] | None,
        expected_sites: set[str] | None = None,
        base: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self.round_number = round_number
        self.reference = dict(reference or {})
        self.expected_sites = expected_sites
        self.base = base
        self.accepted: dict[str, int] = {}
        self._groups: list[list[str]] | None = None
        self._base_magnitudes: dict[str, float] | None = None

    def check(
        self, site: str, round_number: int | None, weights: Any, num_samples: Any, wire_dtype: Any = ""
    ) -> tuple[Mapping[str, torch.Tensor], int]:
        """Check one update whole.

        Args:
            site: the site's name.
            round_number: the round that the update says it belongs to; None when it does not say.
            weights: the update's state dict, of tensors or numpy arrays.
            num_samples: the samples behind it.
            wire_dtype: "" for weights; ``bfloat16`` for a difference (see `wire_dtype.to_difference`).

        Returns:
            The weights as plain CPU tensors (not copied when they are plain already) under the global model's names
            (see `fit_names`), and the samples. Those of a difference are made when they are asked for, and not kept.

        Raises:
            UpdateError: with ``reason`` ``site_not_expected``, ``duplicate``, ``wrong_round``, ``weights_missing``,
                ``too_many_entries``, ``name``, ``not_plain``, ``wire_dtype``, ``no_base``, ``does_not_fit``,
                ``not_finite``, or one of `sample_count_problem`.
        """
        self._check_sender(site, round_number)
        if problem := sample_count_problem(num_samples):
            raise UpdateError(problem[0], f"update of {site}: {problem[1]}")
        state = self._check_weights(site, weights, wire_dtype)
        if not self.reference:
            self.reference = describe(state)
        self.accepted[site] = int(num_samples)
        return state, int(num_samples)

    def _check_sender(self, site: str, round_number: int | None) -> None:
        if self.expected_sites is not None and site not in self.expected_sites:
            raise UpdateError("site_not_expected", f"{site} was not asked in this round")
        if site in self.accepted:
            raise UpdateError("duplicate", f"{site} has contributed to this round already")
        if None not in (round_number, self.round_number) and round_number != self.round_number:
            raise UpdateError(
                "wrong_round",
                f"update of {site}: made for round {round_number}, this is round {self.round_number}",
            )

    def _check_weights(self, site: str, weights: Any, wire_dtype: Any) -> Mapping[str, torch.Tensor]:
        if not isinstance(weights, Mapping) or not weights:
            raise UpdateError("weights_missing", f"update of {site}: found no weights, expected a state dict")
        if len(weights) > max(len(self.reference) * 2, MAX_ENTRIES):
            raise UpdateError("too_many_entries", f"update of {site}: found {len(weights)} entries")
        self._check_entries(site, weights)
        try:
            state = to_plain(weights)
        except StateDictError as error:
            raise UpdateError("not_plain", f"update of {site}: {error}") from error
        if wire_dtype:
            return self._restore(site, state, wire_dtype)
        state = self._fit(site, state, self.reference)
        if self._groups is None:
            specs = self.reference or describe(state)
            self._groups = group_entries((name, *spec) for name, spec in specs.items())
        if name := first_not_finite(state, self._groups):
            raise _not_finite(site, name)
        return state

    def _check_entries(self, site: str, weights: Mapping[Any, Any]) -> None:
        for name, value in weights.items():
            if isinstance(name, str) and (len(name) > MAX_NAME or not name.isprintable()):
                raise UpdateError(
                    "name",
                    f"update of {site}: found the name {reprlib.repr(name)}, expected printable text of at most "
                    f"{MAX_NAME} characters",
                )
            if claims_more_than_it_holds(value):
                raise UpdateError(
                    "not_plain",
                    f"update of {site}: {name}: found the shape {list(value.shape)} over fewer values, expected each "
                    "element to have its own",
                )

    def _restore(self, site: str, difference: StateDict, wire_dtype: Any) -> Mapping[str, torch.Tensor]:
        if wire_dtype != BFLOAT16:
            raise UpdateError("wire_dtype", f"update of {site}: found wire_dtype {wire_dtype!r}, expected {BFLOAT16!r}")
        if not self.reference:
            raise UpdateError("no_base", f"update of {site}: a difference, and the round started without a model")
        if self.base is None:
            raise UpdateError(
                "no_base",
                f"update of {site}: a difference, but this workflow does not tell which model the round started from; "
                "leave wire_dtype out of the sites' configuration",
            )
        state = RestoredState(self._fit(site, difference, travel_specs(self.reference)), self.base)
        if self._base_magnitudes is None:
            rounded = {name: tensor for name, tensor in self.base.items() if is_rounded(tensor.dtype)}
            self._base_magnitudes = {name: largest_magnitude(tensor) for name, tensor in rounded.items()}
        if name := state.not_finite(self._base_magnitudes):
            raise _not_finite(site, name)
        return state

    def _fit(self, site: str, state: StateDict, expected: Mapping[str, TensorSpec]) -> StateDict:
        if not expected:
            return state
        state = fit_names(state, expected)
        try:
            check_fit(state, expected, what=f"the update of {site}")
        except StateDictError as error:
            raise UpdateError("does_not_fit", str(error)) from error
        return state


def _not_finite(site: str, name: str) -> UpdateError:
    return UpdateError("not_finite", f"update of {site}: {name} holds NaN or infinite values")
