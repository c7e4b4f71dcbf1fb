"""Load: clients that chat without a pause, and what they were answered."""

import http.client
import json
import threading
import uuid

from tests.support.stack import TOKEN

CLIENTS = 8


class Load:
    """Clients that chat without a pause and remember what they were answered.

    `answered` are the correlation ids.
    """

    def __init__(self, port, clients=CLIENTS):
        self.port = port
        self.answered, self.refused, self.cut = [], 0, 0
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(n,)) for n in range(clients)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, number):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self._stop.is_set():
            try:
                self._chat(connection, number)
            except (OSError, http.client.HTTPException):
                self.cut += 1
                connection.close()
                self._stop.wait(0.02)
        connection.close()

    def _chat(self, connection, number):
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


class KeyedLoad(Load):
    """Twins that show one key each until it is answered; between them cached chats.

    Each two clients are twins, who ask the same at the same time. `said` are the ids
    of the answers' first records, by key.
    """

    def __init__(self, port):
        super().__init__(port)
        self.said = {}
        self._turns = [0] * CLIENTS

    def _chat(self, connection, number):
        turn, pair = self._turns[number], number // 2
        key = "" if turn % 3 == 2 else f"{pair}-{turn}"
        words = f"cached {turn % 4}" if not key else f"asked {key}"
        mine = str(uuid.uuid4())
        body = json.dumps({"messages": [{"role": "user", "content": words}]})
        headers = {
            "X-VX11-Token": TOKEN,
            "Content-Type": "application/json",
            "X-Correlation-ID": mine,
        } | ({"Idempotency-Key": key} if key else {})
        connection.request("POST", "/v1/chat/completions", body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            self.refused += 1
            return
        self.answered.append(mine)
        if key:
            self.said.setdefault(key, set()).add(answer["id"])
        self._turns[number] += 1
