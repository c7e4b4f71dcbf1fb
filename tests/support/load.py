"""Load: clients that chat without a pause, and what they were answered."""

import http.client
import json
import threading
import uuid

from tests.support.stack import TOKEN

CLIENTS = 8


class Load:
    """Clients that chat without a pause and remember what they were answered."""

    def __init__(self, port, clients=CLIENTS):
        self.port = port
        self.answered, self.refused, self.cut = [], 0, 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self._stop.is_set():
            try:
                self._chat(connection)
            except (OSError, http.client.HTTPException):
                self.cut += 1
                connection.close()
                self._stop.wait(0.02)
        connection.close()

    def _chat(self, connection):
        mine = str(uuid.uuid4())
        body = json.dumps({"message": "Hello", "correlation_id": mine})
        headers = {"X-VX11-Token": TOKEN, "Content-Type": "application/json"}
        connection.request("POST", "/operator/api/chat", body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status == 200:
            self.answered.append(answer["correlation_id"])
        else:
            self.refused += 1
