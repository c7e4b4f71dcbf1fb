"""A relay between a client and a server that cuts, holds and freezes connections."""

import contextlib
import selectors
import socket
import threading

from tests.support.stack import free_port


class Relay:
    """Hands bytes on between 127.0.0.1 and a port, until told otherwise."""

    def __init__(self, port):
        self.target, self.port = port, free_port()
        self.is_down = False  # new connections are refused, as by a host that is off
        self.is_silent = False  # bytes go nowhere, as over a cable that is cut
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._pairs = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.is_down:
                    client.close()
                    continue
                self._join(client)

    def _join(self, client):
        try:
            server = socket.create_connection(("127.0.0.1", self.target), 5)
        except OSError:
            client.close()
            return
        with self._lock:
            self._pairs.append((client, server))
        threading.Thread(target=self._pump, args=(client, server), daemon=True).start()

    def _pump(self, client, server):
        with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select(0.5):
                    data = key.fileobj.recv(65536)
                    if not data:
                        raise ConnectionResetError
                    if not self.is_silent:
                        key.data.sendall(data)
        client.close()
        server.close()

    def cut(self, *, both=True):
        """End all connections; without `both` the server is not told for a while."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for client, server in pairs:
            for end in (client, server) if both else (client,):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._listener.close()
        self.cut()
