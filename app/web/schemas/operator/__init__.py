"""Operator: the wire models of what operators look at and change."""
