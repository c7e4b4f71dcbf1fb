"""The gauges: logs and metrics.

Rule of this room: it is the only one that sets up logging or imports
prometheus_client. It imports the core's values and nothing else of the house.
"""
