def test_health_needs_no_token(client):
    body = client.get("/health").json

    assert (body["ok"], body["status"], body["module"]) == (True, "ok", "operator")
    assert {"version", "timestamp"} <= set(body)


def test_operator_health_speaks_the_words_of_the_backend(client):
    body = client.get("/operator/api/health").json

    assert (body["status"], body["service"]) == ("ok", "operator_backend")


def test_readiness_follows_the_audit(client, trail):
    assert client.get("/readyz").status_code == 200

    trail.is_down = True
    answer = client.get("/readyz")

    assert (answer.status_code, answer.json["code"]) == (503, "audit_unavailable")


def test_status_needs_a_token(client):
    assert client.get("/operator/api/status").status_code == 401


def test_status_has_both_shapes_in_one_object(client, token, health):
    health.note("switch", "read_timeout")

    body = client.get("/operator/api/status", headers=token).json

    assert body["ok"] is True
    assert set(body["data"]) == {"policy", "core_services", "timestamp"}
    assert {k: body[k] for k in body["data"]} == body["data"]
    assert body["core_services"]["switch"] == {
        "status": "down",
        "reason": "read_timeout",
    }
    assert body["core_services"]["madre"]["status"] == "unknown"
