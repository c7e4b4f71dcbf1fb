"""The core: policy about chat, and nothing else.

Rule of this room: it imports the standard library and its own modules;
no Flask, no requests, no SQL, no Prometheus. What it needs from the
world it declares as a protocol in the module that calls it, and the other rooms
fulfil it.
"""
