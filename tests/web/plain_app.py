"""A WSGI application for tests of the worker: each path is one behaviour."""

import re
import threading

BIG = b"x" * 20_000_000
_never = threading.Event()


def ok(environ):
    return b"ok"


def slow(environ):
    _never.wait(float(environ["QUERY_STRING"]))
    return b"slow"


def big(environ):
    return BIG


def read(environ):
    return environ["wsgi.input"].read()


def hog(environ):
    """Hold the interpreter's lock for longer than any test."""
    return str(re.match(r"(a+)+$", "a" * 40 + "b")).encode()


ROUTES = {f"/{view.__name__}": view for view in (ok, slow, big, read, hog)}


def app(environ, start_response):
    body = ROUTES[environ["PATH_INFO"]](environ)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
