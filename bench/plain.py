"""What one would write first: Flask and a session of requests, no safeguard at all.

Measured beside the gateway, because the speed of a machine changes from hour to hour:
what counts is the ratio. `/flask` answers by itself, `/session` asks the upstream.
"""

import os

import requests
from flask import Flask, request
from requests.adapters import HTTPAdapter

app = Flask(__name__)
session = requests.Session()
session.mount("http://", HTTPAdapter(pool_maxsize=256))


@app.post("/flask")
def answer() -> dict[str, str]:
    return {"response": "All systems are well."}


@app.post("/session")
def ask() -> dict[str, str]:
    said = request.get_json()["message"]
    answer = session.post(
        os.environ["UPSTREAM"],
        json={"messages": [{"role": "user", "content": said}], "metadata": {}},
        timeout=30,
    ).json()
    return {"response": answer["reply"], "model_used": answer["engine_used"]}
