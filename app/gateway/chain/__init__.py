"""Chain: the handlers around the whole of a chat, the outermost first.

Admission, then the metrics, the record and the estimate of a count; each is a handler
around a handler.
"""
