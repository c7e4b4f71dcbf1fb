"""An upstream that speaks OpenAI's streams, word by word, when the test says so."""

import json
import select
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CUT = object()  # in a script: close the connection at once


def chunk(delta, finish_reason=None, **more):
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    body = {
        "id": "chatcmpl-upstream",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "speaker-1",
        "choices": [choice],
    }
    return f"data: {json.dumps(body | more)}\n\n".encode()


SPENT = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
USAGE = b"data: %s\n\n" % json.dumps({"choices": [], "usage": SPENT}).encode()
END = (chunk({}, "stop"), USAGE, b"data: [DONE]\n\n")


def whole(text):
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {
        "id": "chatcmpl-upstream",
        "object": "chat.completion",
        "created": 1,
        "model": "speaker-1",
        "choices": [choice],
        "usage": SPENT,
    }
    return json.dumps(body).encode()


class Speaker(ThreadingHTTPServer):
    """Answers each chat by its script, streamed or whole, as it is asked.

    A script is a list of words to say (str), bytes to send as they are, events to wait
    for, seconds to pause (float), and CUT. After its last step the stream ends
    properly. With `refusal`, a body, each chat is answered 400 instead. `heard` are
    the bodies that came in; `was_left` is set when a caller went away during a wait.
    """

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, *script):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script or ("Hello ", "world")
        self.refusal = None
        self.heard = []
        self.was_left = threading.Event()
        self.is_closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.is_closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """A caller that goes away is what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self._send_json(b'{"object":"list","data":[]}')

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append(json.loads(body))
        self.close_connection = True
        if self.server.refusal:
            self._send_json(self.server.refusal, 400)
        elif self.server.heard[-1].get("stream"):
            self._stream()
        else:
            self._answer()

    def _answer(self):
        script = self.server.script
        waits = [step for step in script if not isinstance(step, (str, bytes))]
        if all(self._do(step) for step in waits):
            words = [step for step in script if isinstance(step, str)]
            self._send_json(whole("".join(words)))

    def _stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        if all(self._do(step) for step in self.server.script):
            for step in END:
                self.wfile.write(step)

    def _do(self, step):
        """Do a step; False if there is nobody left to do the next one for."""
        if step is CUT:
            return False
        if isinstance(step, threading.Event):
            return self._wait(step)
        if isinstance(step, float):
            return not self.server.is_closing.wait(step)
        say = step if isinstance(step, bytes) else chunk({"content": step})
        self.wfile.write(say)
        return True

    def _wait(self, event):
        while not (event.is_set() or self.server.is_closing.is_set()):
            if self._is_left():
                self.server.was_left.set()
                return False
            event.wait(0.02)
        return True

    def _is_left(self):
        if not select.select([self.connection], [], [], 0)[0]:
            return False
        try:
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except ConnectionError:
            return True

    def _send_json(self, body, status=200):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
