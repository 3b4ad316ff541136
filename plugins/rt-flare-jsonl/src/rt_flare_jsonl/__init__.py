"""Text and its class from JSON Lines, as a dataset adapter of rt_flare. The plugin module imports no torch."""
