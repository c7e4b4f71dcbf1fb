"""Chain: the handlers around the whole of a chat, the outermost first.

Admission, then the metrics, then the record; each is a handler around a handler.
"""
