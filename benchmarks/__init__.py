"""Benchmarks, apart from the tests: each module prints ratios measured in one run, with the machine and the versions."""
