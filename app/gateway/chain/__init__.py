"""Chain: the handlers around the whole of a chat, the outermost first.

Admission, then the metrics, the record, the answers that are said again and the
estimate of a count; each is a handler around a handler.
"""
