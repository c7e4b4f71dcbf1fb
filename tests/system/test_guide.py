"""docs/operating.md, followed to the letter on a host of its own."""

import json
import re
import shutil
import subprocess
import sys
import tarfile

import pytest

from app.version import VERSION
from tests.support.scratch_host import ScratchHost, is_possible
from tests.support.stack import HOUSE

GUIDE = (HOUSE / "docs" / "operating.md").read_text()
TOKEN = "the-token-of-this-installation"
ASK = f"""curl -sS --cacert /etc/chat-gateway/tls/certificate.pem \\
    --resolve "$(hostname):8443:127.0.0.1" \\
    -H 'X-VX11-Token: {TOKEN}' -H 'Content-Type: application/json' \\
    -d '{{"message": "Hello"}}' "https://$(hostname):8443/operator/api/chat"
"""
CLAUDE = r'\[\[upstreams\]\]\nname = "claude".*?\n\n'  # nobody stands in for that one
SANDBOX = f"""
cd {HOUSE}
VX11_TENTACULO_LINK_TOKEN={TOKEN} setsid {sys.executable} -m sandbox \\
    --openai-port 8080 >/run/sandbox 2>&1 &
until grep -q control /run/sandbox; do :; done
"""


def blocks_of(heading):
    """The commands below a heading of the guide, block by block."""
    (section,) = re.findall(
        rf"^## {heading}\n(.*?)(?=^## )", GUIDE, re.MULTILINE | re.DOTALL
    )
    return re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """A folder with the versions that the guide names."""
    (make,) = [block for block in blocks_of("Install") if "make bundle" in block]
    subprocess.run(make, shell=True, cwd=HOUSE, check=True)
    folder = tmp_path_factory.mktemp("bundles")
    built = HOUSE / "var" / f"chat-gateway-{VERSION}.tar.gz"
    shutil.copy(built, folder)
    with tarfile.open(built) as packed:
        packed.extractall(folder, filter="data")
    newer = (folder / VERSION).rename(folder / "8.1.0")
    version = newer / "app" / "version.py"
    version.write_text(version.read_text().replace(VERSION, "8.1.0"))
    with tarfile.open(folder / "chat-gateway-8.1.0.tar.gz", "w:gz") as packed:
        packed.add(newer, "8.1.0")
    shutil.rmtree(newer)
    return folder


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("host")
    if not is_possible(folder):
        pytest.skip("it takes root and the right to mount to make a host of its own")
    with ScratchHost(folder) as host:
        host.equip()
        yield host


def test_install_upgrade_backup_and_restore_as_written(host, bundles):
    _, install, certificate, start = blocks_of("Install")
    assert f"chat-gateway-{VERSION}.tar.gz" in install
    host.run(f"cp {bundles}/*.tar.gz .; {install}")
    host.run(certificate)
    host.write(
        "/etc/chat-gateway/environment",
        "VX11_CONFIG=/etc/chat-gateway/gateway.toml\n"
        f"VX11_TENTACULO_LINK_TOKEN={TOKEN}\nLOCAL_LLM_KEY=a-key\nCLAUDE_KEY=a-key\n",
    )
    settings = host.run("cat /etc/chat-gateway/gateway.toml")  # which upstreams
    one_less = re.sub(CLAUDE, "", settings, flags=re.DOTALL)
    assert one_less != settings
    host.write("/etc/chat-gateway/gateway.toml", one_less)
    host.run("echo 127.0.0.1 switch madre llm $(hostname) >> /etc/hosts")
    host.run(
        SANDBOX.format(house=HOUSE, token=TOKEN, python=HOUSE / ".venv/bin/python")
    )
    host.run("sync")  # what was installed; the first records need not wait for that
    assert "switch" in host.run(start)

    answer = json.loads(host.run(ASK))
    assert (answer["provider"], answer["status"]) == ("switch", "ok")

    look, change = blocks_of("Upgrade")
    host.run(look)
    host.run(change)

    assert json.loads(host.run(ASK))["provider"] == "switch"
    health = host.run("curl -s http://127.0.0.1:8000/health")
    assert json.loads(health)["version"] == "8.1.0"
    assert number_in(host.run("chat-gateway records verify")) > 2  # and the starts

    backup, restore = blocks_of("Back up and restore")
    copied = number_in(host.run(backup), "Copied {} records")
    host.run(ASK)
    told = host.run(restore)
    assert number_in(told, "Restored {} records") == copied > 2
    assert number_in(told) >= copied  # by now its start may be on record, too
    assert json.loads(host.run(ASK))["provider"] == "switch"
    assert number_in(host.run("chat-gateway records verify")) > copied


def number_in(told, words="{} records, the chain is whole"):
    (number,) = re.findall(words.format(r"(\d+)"), told)
    return int(number)
