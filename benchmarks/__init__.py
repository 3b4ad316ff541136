"""Benchmarks, apart from the tests: each module prints ratios of one run, with the machine and the versions."""
