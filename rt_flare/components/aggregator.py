"""Sample-weighted federated averaging, for NVFlare's ScatterAndGather and FedAvg and for our own controller."""

from __future__ import annotations

from collections.abc import Collection

from rt_flare.components.gated_aggregator import GatedAggregator
from rt_flare.core.ordered_mean import OrderedMean
from rt_flare.core.weighted_mean import WeightedMean
from rt_flare.errors import ConfigError

__all__ = ["SampleWeightedAggregator"]


class SampleWeightedAggregator(GatedAggregator):
    """Takes the mean of the sites' weights, weighted by their samples: ``sum(n_i w_i) / sum(n_i)``.

    After a refused update the result is that of the others alone, bit for bit.

    Args:
        deterministic: add in site-name order, so that the result's bytes do not depend on the order of arrival.
        max_held_bytes: memory for updates that arrive before their turn; more go to a temporary file.
        max_samples_per_site: samples that an update counts with at most, whatever its site reports; 0 sets no cap.

    Raises:
        ConfigError: the cap is negative or no int.
    """

    def __init__(
        self, deterministic: bool = False, max_held_bytes: int = 1 << 30, max_samples_per_site: int = 0
    ) -> None:
        super().__init__()
        self.max_samples_per_site = max_samples_per_site
        if type(max_samples_per_site) is not int or max_samples_per_site < 0:
            raise ConfigError(
                f"SampleWeightedAggregator: max_samples_per_site must be an int of at least 0, found "
                f"{max_samples_per_site!r}"
            )
        self.deterministic = deterministic
        self.max_held_bytes = max_held_bytes

    def new_accumulator(self, expected_sites: Collection[str]) -> WeightedMean:
        """Return the mean of one round, in site-name order if ``deterministic``."""
        if self.deterministic:
            return OrderedMean(expected_sites, max_held_bytes=self.max_held_bytes)
        return WeightedMean()

    def counted(self, num_samples: int) -> int:
        """Return the samples that an update of ``num_samples`` counts with."""
        return min(num_samples, self.max_samples_per_site or num_samples)
