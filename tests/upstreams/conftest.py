import ssl

import pytest
import trustme

from app.upstreams.http.transport import Transport
from tests.upstreams.raw_server import BlockedPort, RawServer


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority, tmp_path_factory):
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="session")
def tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def transport(ca_file):
    transport = Transport(verify=ca_file)
    yield transport
    transport.close()


@pytest.fixture
def serve():
    """Start raw servers that stop when the test is over."""
    servers = []

    def start(script, **options):
        servers.append(RawServer(script, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def block():
    """Make addresses where connecting hangs, until the test is over."""
    ports = []

    def start(**where):
        ports.append(BlockedPort(**where))
        return ports[-1]

    yield start
    for port in ports:
        port.stop()
