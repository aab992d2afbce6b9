"""Benchmarks: the load harness and the peers it compares with."""
