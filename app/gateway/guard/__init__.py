"""Guard: whether an upstream is asked, and what each call says of it.

Circuit breaker, health, hang detection and the limit on calls at once.
"""
