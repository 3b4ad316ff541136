"""Aggregators that withstand bad updates, for rt_flare and NVFlare. The plugin module imports no torch."""
