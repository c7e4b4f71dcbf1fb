import json
import os
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
import requests


@pytest.fixture
def start():
    processes = []

    def run(*options, descriptors=1024, **environment):
        command = [sys.executable, "-m", "sandbox", *options]
        limited = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
        processes.append(
            subprocess.Popen(
                limited,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | environment,
            )
        )
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


ANY_PORT = ("--switch-port", "0", "--madre-port", "0")


def test_it_prints_where_both_are_and_both_answer(start, switch_body, madre_body):
    urls = json.loads(start(*ANY_PORT).stdout.readline())

    token = {"X-VX11-Token": "any"}
    switch_chat, madre_chat = (
        urls["switch"] + "/switch/chat",
        urls["madre"] + "/madre/chat",
    )
    switched = requests.post(switch_chat, json=switch_body, headers=token, timeout=10)
    mothered = requests.post(madre_chat, json=madre_body, timeout=10)

    assert switched.json()["status"] == "ok"
    assert switched.json()["latency_ms"] == 150
    assert mothered.json()["status"] == "DONE"


def test_it_prints_where_the_faults_are_switched(start):
    urls = json.loads(start(*ANY_PORT).stdout.readline())

    for url in urls["control"].values():
        answer = requests.get(url + "/sandbox/fault", timeout=10)
        assert answer.json() == {"fault": None}


def test_the_token_comes_from_the_named_variable(start, switch_body):
    process = start(*ANY_PORT, "--token-env", "SOME_TOKEN", SOME_TOKEN="right")
    chat = json.loads(process.stdout.readline())["switch"] + "/switch/chat"

    statuses = [
        requests.post(
            chat, json=switch_body, headers={"X-VX11-Token": shown}, timeout=10
        ).status_code
        for shown in ("right", "wrong")
    ]

    assert statuses == [200, 401]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told_even_with_a_hung_request(start, connect, stop):
    process = start(*ANY_PORT)
    urls = json.loads(process.stdout.readline())
    wish = {"fault": "frozen"}
    requests.post(urls["control"]["switch"] + "/sandbox/fault", json=wish, timeout=10)
    with pytest.raises(requests.ReadTimeout):
        requests.get(urls["switch"] + "/health", timeout=(10, 0.1))

    process.send_signal(stop)

    assert process.wait(10) == 0
    assert process.stderr.read() == ""


def test_it_survives_running_out_of_descriptors(start):
    process = start(*ANY_PORT, descriptors=24)
    url = urlsplit(json.loads(process.stdout.readline())["switch"])
    crowd = [socket.create_connection((url.hostname, url.port), 10) for _ in range(40)]
    for client in crowd:
        client.close()

    assert requests.get(f"{url.geturl()}/health", timeout=30).ok


def test_a_taken_port_is_said_in_one_line(start, switch, address):
    _, port = address(switch)
    process = start("--switch-port", str(port), "--madre-port", "0")

    assert process.wait(30) == 1
    assert "can not listen" in process.stderr.read()
    assert process.stdout.read() == ""
