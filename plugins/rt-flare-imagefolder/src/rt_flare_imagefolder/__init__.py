"""Images in one folder per class, as a dataset adapter of rt_flare. The plugin module imports no torch."""
