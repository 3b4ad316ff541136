"""Timeouts of NVFlare as data: presets, the keys that the installed NVFlare reads, checks of jobs and startup kits.

Imports the package's `core` and the catalog; NVFlare only where a file must be read as NVFlare reads it, and late.
"""
