"""Traces: spans of chats, sent to an OpenTelemetry collector if there is one."""
