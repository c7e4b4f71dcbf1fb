"""Benchmarks: the gateway with every safeguard on, beside what it is made of.

One run measures everything, side by side, on one machine. The gateway has one core
to itself; load generator and upstream share another.
"""
