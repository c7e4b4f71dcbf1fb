"""The hash chain over the records: its links, its knots and anchors, its check."""
