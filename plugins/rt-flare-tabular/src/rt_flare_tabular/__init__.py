"""Tables from CSV and Parquet files, as a dataset adapter of rt_flare. The plugin module imports no torch."""
