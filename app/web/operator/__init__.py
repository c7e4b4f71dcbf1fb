"""Operator: the doors for operators: records, status, metrics and the console."""
