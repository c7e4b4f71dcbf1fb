"""Telemetry: logs, metrics and traces.

Rule of this room: it is the only one that sets up logging, or imports
prometheus_client or OpenTelemetry. It imports the core's values, `host`, and nothing
else of the house.
"""
