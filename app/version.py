"""The version, as callers, records and operators see it."""

VERSION = "8.0.0"
