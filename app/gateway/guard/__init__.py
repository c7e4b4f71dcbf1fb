"""Guard: when an upstream is asked, and what is learned from each call.

Circuit breaker, health, hang detection and the limit on calls at once.
"""
