"""Schemas: the shapes of what goes over the wire, in and out."""
