import pytest

from app.settings import (
    Settings,
    SettingsError,
    in_force,
    load,
    load_local,
    warnings_about,
)
from app.settings.conflicts import conflicts
from app.settings.names import masked

TOKEN = "a-token-for-tests"
OPENAI = """
[[upstreams]]
name = "vllm"
kind = "openai"
url = "http://vllm:8000/v1"
"""


@pytest.fixture
def env(monkeypatch):
    def set_all(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"VX11_{name}", value)

    return set_all


@pytest.fixture
def config(env, tmp_path):
    def write(text):
        file = tmp_path / "gateway.toml"
        file.write_text(text)
        env(CONFIG=str(file))
        return file

    return write


def problems():
    with pytest.raises(SettingsError) as caught:
        load()
    return caught.value.problems


def test_defaults_are_the_documented_ones(env):
    env(TENTACULO_LINK_TOKEN=TOKEN)

    settings = load()

    assert settings.chat_deadline == 36
    assert settings.bind == "127.0.0.1:8011"
    assert settings.audit_url == "sqlite:///var/audit.db"
    assert [(u.name, u.url, u.timeout) for u in settings.effective_upstreams()] == [
        ("switch", "http://switch:8002", 30),
        ("madre", "http://madre:8001", 5),
    ]


def test_the_link_token_goes_before_the_operator_token(env):
    env(OPERATOR_TOKEN="the-operator-token")
    assert load().token.get_secret_value() == "the-operator-token"

    env(TENTACULO_LINK_TOKEN=TOKEN)
    assert load().token.get_secret_value() == TOKEN


def test_both_tokens_of_the_environment_are_there(env):
    env(TENTACULO_LINK_TOKEN=TOKEN, OPERATOR_TOKEN="the-operator-token")

    assert load().operator_token.get_secret_value() == "the-operator-token"
    assert "the-operator-token" not in str(in_force(load()))


def test_a_bad_one_of_two_tokens_is_named(env):
    env(TENTACULO_LINK_TOKEN=TOKEN, OPERATOR_TOKEN="short")

    assert problems() == ["VX11_OPERATOR_TOKEN: must be 8 to 200 ASCII characters"]


def test_an_empty_variable_is_as_good_as_none(env):
    env(TENTACULO_LINK_TOKEN="", OPERATOR_TOKEN=TOKEN, THREADS="", SWITCH_URL="")

    assert load().token.get_secret_value() == TOKEN


def test_without_a_token_it_refuses_unless_told_that_all_may_come_in(env):
    assert "VX11_TENTACULO_LINK_TOKEN" in problems()[0]

    env(AUTH_MODE="off")
    assert load().token is None


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("SWITCH_URL", "switch:8002"),
        ("MADRE_URL", "http://user:secret-word@madre"),
        ("SWITCH_TIMEOUT", "0"),
        ("CHAT_DEADLINE", "soon-secret-word"),
        ("AUDIT_MODE", "secret-word"),
        ("AUDIT_CONTENT", "secret-word"),
        ("BIND", "8011"),
        ("WORKERS", "-1"),
        ("THREADS", "secret-word"),
        ("LOG_LEVEL", "secret-word"),
        ("TENTACULO_LINK_TOKEN", "short"),
        ("TENTACULO_LINK_TOKEN", "secret-word,secret-word"),
        ("TENTACULO_LINK_TOKEN", "changeme"),
        ("METADATA_ALLOWED", "secret-word"),
        ("AUDIT_URL", "secret-word"),
        ("UPSTREAMS", "secret-word"),
        ("OTLP_ENDPOINT", "http://u:secret-word@collector"),
        ("TRUSTED_PROXIES", "secret-word"),
        ("TRUSTED_PROXIES", '["127.0.0.1", "secret-word"]'),
    ],
)
def test_an_error_names_its_variable_and_never_the_value(env, name, bad):
    env(**{"TENTACULO_LINK_TOKEN": TOKEN, name: bad})

    (problem,) = problems()

    assert problem.startswith(f"VX11_{name}")
    assert "secret-word" not in problem


def test_all_errors_are_told_at_once(env):
    env(TENTACULO_LINK_TOKEN=TOKEN, THREADS="x", WORKERS="y")

    assert len(problems()) == 2


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"THREADS": "8", "WORKERS": "x"}, {"THREADS", "WORKERS"}),
        ({"STREAM_SLOTS": "99", "WORKERS": "x"}, {"STREAM_SLOTS", "WORKERS"}),
        ({"METRICS_BIND": "a:8011", "WORKERS": "x"}, {"METRICS_BIND", "WORKERS"}),
        ({"METADATA_ALLOWED": "x", "WORKERS": "x"}, {"METADATA_ALLOWED", "WORKERS"}),
        ({"THREADS": "x", "SLOTS": "200"}, {"THREADS"}),
        ({"THREADS": "x", "STREAM_SLOTS": "99"}, {"THREADS"}),
        ({"BIND": "x", "METRICS_BIND": "a:8011"}, {"BIND"}),
    ],
)
def test_what_does_not_fit_is_told_beside_what_is_wrong_in_itself(
    env, variables, named
):
    env(**variables)
    names = {"TENTACULO_LINK_TOKEN", *named}
    assert {p.split(":")[0] for p in problems()} == {f"VX11_{n}" for n in names}

    env(TENTACULO_LINK_TOKEN="short")
    assert {p.split(":")[0] for p in problems()} == {f"VX11_{n}" for n in names}


def test_a_bad_token_is_named_by_the_variable_that_holds_it(env):
    env(OPERATOR_TOKEN="short")

    assert problems()[0].startswith("VX11_OPERATOR_TOKEN: ")


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("VX11_SWICH_URL", "VX11_SWITCH_URL"),
        ("VX11_TOKEN", "VX11_TENTACULO_LINK_TOKEN"),
        ("VX11_CONFIGS", "VX11_CONFIG"),
        ("VX11_QQQ", None),
    ],
)
def test_a_variable_that_nobody_reads_is_told_with_what_may_be_meant(
    monkeypatch, variable, meant
):
    monkeypatch.setenv(variable, "secret-word")

    hint = f"; did you mean {meant}?" if meant else ""
    assert warnings_about() == [f"{variable}: is not read{hint}"]


def test_all_that_is_read_is_no_cause_for_a_warning(env, config, monkeypatch):
    monkeypatch.setenv("VX11_KEY_OF_VLLM", "sk-canary")
    config(OPENAI + 'api_key_env = "VX11_KEY_OF_VLLM"')
    env(OPERATOR_URL="http://x", TENTACULO_LINK_TOKEN=TOKEN, OTLP_ENDPOINT="http://x")

    assert warnings_about(load()) == []


def test_what_is_in_force_has_the_names_that_are_read(env):
    env(OPERATOR_TOKEN=TOKEN)
    assert "VX11_OPERATOR_TOKEN" in in_force(load())

    env(TENTACULO_LINK_TOKEN=TOKEN)
    shown = in_force(load())
    assert "VX11_TENTACULO_LINK_TOKEN" in shown
    assert "VX11_TOKEN" not in shown
    assert TOKEN not in str(shown)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://u:hunter2@/var/audit.db",
        "postgresql://u:hun/ter2@hunter2@h/db",
        "sqlite:///var/audit.db?key=hunter2&x=hunter2",
    ],
)
def test_no_password_in_an_address_is_shown(url):
    assert "hunter2" not in masked(url)
    assert "hunter2" not in str(masked({"a": [{"url": url}]}))
    assert masked("sqlite:////var/a@b.db") == "sqlite:////var/a@b.db"


def test_a_command_that_lets_nobody_in_needs_no_token(env):
    env(AUDIT_MODE="best_effort")

    settings = load_local()

    assert (settings.token, settings.auth_mode) == (None, "token")
    assert settings.audit_mode == "best_effort"


class TestFile:
    def test_it_may_set_everything(self, config):
        config(
            f"""
            token = "{TOKEN}"
            chat_deadline = 20
            [[upstreams]]
            name = "brain"
            kind = "switch"
            url = "http://brain:1"
            timeout = 15
            """
        )

        settings = load()

        assert settings.chat_deadline == 20
        assert [u.name for u in settings.effective_upstreams()] == ["brain"]

    def test_the_environment_goes_before_it(self, config, env):
        config(f'token = "{TOKEN}"\nthreads = 40')
        env(THREADS="41")

        assert load().threads == 41

    def test_a_misspelt_key_is_named(self, config):
        file = config(f'token = "{TOKEN}"\ntreads = 5')

        assert problems() == [
            f"{file}:2: treads: there is no such key; did you mean threads?"
        ]

    def test_an_entry_is_named_by_its_place(self, config):
        file = config(f'token = "{TOKEN}"\n[[upstreams]]\nname = "a"\nkind = "switch"')

        assert problems() == [f"{file}:2: [[upstreams]] number 1, url: is missing"]

    def test_health_is_a_path_of_the_server_or_none(self, config):
        one = f'token = "{TOKEN}"\n[[upstreams]]\nname = "a"\nkind = "madre"\n'
        one += 'url = "http://x/base"\n'
        config(f'{one}health = "/alive?deep=1"')
        assert load().upstreams[0].health == "/alive?deep=1"

        for wrong in ("alive", "http://x/alive", "/a b", "/a#b", "/\\n", "None", "/ä"):
            file = config(f'{one}health = "{wrong}"')
            where = f"{file}:6: [[upstreams]] number 1, health: "
            (problem,) = problems()
            assert problem.startswith(where)
            assert wrong not in problem.removeprefix(where) or wrong == "None"

    def test_two_upstreams_cannot_share_a_name(self, config):
        one = '[[upstreams]]\nname = "a"\nkind = "switch"\nurl = "http://x"\n'
        config(f'token = "{TOKEN}"\n{one}{one}')

        assert "number 2, name: number 1 has the same name" in problems()[0]

    @pytest.mark.parametrize("text", ["not toml", "threads = "])
    def test_one_that_does_not_parse_is_named(self, config, text):
        file = config(text)

        assert problems()[0].startswith(f"{file}:1: ")

    def test_an_openai_upstream_has_its_key_from_a_variable(self, config, monkeypatch):
        monkeypatch.setenv("THE_KEY", "sk-canary")
        config(OPENAI + 'api_key_env = "THE_KEY"\nretries = 2')

        settings = load(token=TOKEN)

        assert settings.upstreams[0].api_key.get_secret_value() == "sk-canary"
        assert "sk-canary" not in settings.model_dump_json() + repr(settings)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ('api_key_env = "NOT_SET"', "api_key_env: the variable NOT_SET is unset"),
            ('api_key_env = "Not_Told"', "api_key_env: the variable is unset"),
            ('api_key = "sk-in-the-file"', "api_key: keep it in a variable"),
            ("retries = 3", "retries"),
            ('abilities = ["magic"]', "abilities"),
        ],
    )
    def test_what_is_wrong_with_an_openai_upstream_is_told(self, config, text, problem):
        config(OPENAI + text)

        with pytest.raises(SettingsError, match=problem) as caught:
            load(token=TOKEN)

        assert "sk-in-the-file" not in str(caught.value)

    def test_a_route_leads_to_upstreams_that_there_are(self, config):
        config(OPENAI + '[[routes]]\nmodel = "gpt-*"\nupstreams = ["vllm"]')
        assert load(token=TOKEN).routes[0].upstreams == ("vllm",)

        file = config(
            OPENAI + '[[routes]]\nmodel = "gpt-*"\nupstreams = ["vllm", "no"]'
        )
        with pytest.raises(SettingsError) as caught:
            load(token=TOKEN)
        assert caught.value.problems == [
            f"{file}:8: [[routes]] number 1, upstreams.2: there is no such upstream"
        ]

    def test_what_the_environment_has_wrong_is_told_beside_it(self, config, env):
        file = config(f'token = "{TOKEN}"\nnot toml')
        env(WORKERS="x", THREADS="8", SLOTS="200")

        named = [problem.split(":")[0] for problem in problems()]
        assert named == [str(file), "VX11_WORKERS", "VX11_THREADS"]

    def test_a_key_in_the_place_of_its_variable_is_not_echoed(self, config):
        config(OPENAI + 'api_key_env = "sk-canary"')

        with pytest.raises(SettingsError, match="api_key_env") as caught:
            load(token=TOKEN)

        assert "sk-canary" not in str(caught.value)

    def test_one_that_is_not_there_is_named(self, env):
        env(CONFIG="/no/such/file.toml", TENTACULO_LINK_TOKEN=TOKEN)

        assert problems() == [
            "VX11_CONFIG: /no/such/file.toml cannot be read: No such file or directory"
        ]


def test_settings_never_show_a_secret():
    assert TOKEN not in repr(Settings(token=TOKEN))


class TestAdmission:
    @pytest.fixture(autouse=True)
    def token(self, env):
        env(TENTACULO_LINK_TOKEN=TOKEN)

    @pytest.mark.parametrize(
        ("threads", "slots", "queue"),
        [("64", 40, 16), ("512", 480, 24), ("16", 6, 2), ("9", 1, 0)],
    )
    def test_the_places_follow_from_the_threads(self, env, threads, slots, queue):
        env(THREADS=threads)

        assert (load().slots, load().queue) == (slots, queue)
        assert load().stream_slots < max(2, slots)

    def test_each_may_be_chosen(self, env):
        env(THREADS="20", SLOTS="4", QUEUE="2", QUEUE_WAIT="1.5", STREAM_SLOTS="1")

        chosen = load()

        assert (chosen.slots, chosen.queue, chosen.stream_slots) == (4, 2, 1)
        assert chosen.queue_wait == 1.5

    def test_at_the_cliff_it_is_refused_and_names_the_variables(self, env):
        """At threads = slots + queue the gate does nothing (docs/limits.md)."""
        env(THREADS="31", SLOTS="8", QUEUE="16")
        (problem,) = problems()
        for name in ("VX11_THREADS", "VX11_SLOTS (8)", "VX11_QUEUE (16)"):
            assert name in problem

        env(THREADS="32")
        assert load().threads == 32

    def test_streams_leave_slots_for_chats(self, env):
        env(SLOTS="4", STREAM_SLOTS="4")

        assert "VX11_STREAM_SLOTS" in problems()[0]

    def test_a_bad_number_is_the_only_problem_that_is_named(self, env):
        env(THREADS="many")

        assert len(problems()) == 1


class TestWhatIsRead:
    """Only VX11_* of the environment; the names of the file mean nothing there."""

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("TOKEN", TOKEN),
            ("token", TOKEN),
            ("OTLP_ENDPOINT", "http://collector:4318"),
            ("otlp_endpoint", "http://collector:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            *((name.upper(), "1") for name in sorted(Settings.model_fields)),
            *((name, "1") for name in sorted(Settings.model_fields)),
        ],
    )
    def test_a_variable_of_somebody_else_says_nothing(self, monkeypatch, name, value):
        before = load(auth_mode="off")
        monkeypatch.setenv(name, value)

        settings = load(auth_mode="off")

        assert settings == before
        assert settings.token is None
        assert settings.otlp_endpoint is None

    @pytest.mark.parametrize("name", ["TENTACULO_LINK_TOKEN", "OPERATOR_TOKEN"])
    def test_the_token_has_two_variables_and_a_key(self, env, config, name):
        env(**{name: TOKEN})
        assert load().token.get_secret_value() == TOKEN

        env(**{name: ""})
        config(f'token = "{TOKEN}"\notlp_endpoint = "http://collector:4318"')
        assert load().token.get_secret_value() == TOKEN
        assert load().otlp_endpoint == "http://collector:4318"

        env(OTLP_ENDPOINT="http://another:4318")
        assert load().otlp_endpoint == "http://another:4318"


class TestAddresses:
    @pytest.fixture(autouse=True)
    def token(self, env):
        env(TENTACULO_LINK_TOKEN=TOKEN)

    @pytest.mark.parametrize(
        "bad",
        [
            "http://h:99999",
            "http://h:0x1",
            "http://h:0",
            "http://h:-1",
            "http://[::1",
            "http://[secret-word]",
            "http://:80",
            "http://a|b",
        ],
    )
    @pytest.mark.parametrize("name", ["SWITCH_URL", "MADRE_URL", "OTLP_ENDPOINT"])
    def test_what_nobody_could_connect_to_is_refused(self, env, name, bad):
        env(**{name: bad})

        (problem,) = problems()

        assert problem.startswith(f"VX11_{name}: ")
        assert "secret-word" not in problem

    @pytest.mark.parametrize(
        "good",
        [
            "http://switch",
            "https://a_b.c-d.example:65535/base",
            "http://[::1]:8002",
            "http://127.0.0.1:1",
            "http://bücher.example",
        ],
    )
    def test_what_somebody_may_have_is_not(self, env, good):
        env(SWITCH_URL=good)

        assert load().switch_url == good

    @pytest.mark.parametrize("name", ["BIND", "METRICS_BIND"])
    @pytest.mark.parametrize("bad", ["127.0.0.1:99999", "[::1]:65536", "h:"])
    def test_nobody_listens_at_a_port_that_there_is_not(self, env, name, bad):
        env(**{name: bad})

        assert [p.partition(":")[0] for p in problems()] == [f"VX11_{name}"]


class TestWhatDoesNotFitTogether:
    @pytest.fixture(autouse=True)
    def token(self, env):
        env(TENTACULO_LINK_TOKEN=TOKEN)

    @pytest.mark.parametrize(
        "pair",
        [
            {"BREAKER_OPEN": "5", "BREAKER_OPEN_MAX": "4"},
            {"BREAKER_OPEN_MAX": "0.5"},
        ],
    )
    def test_the_first_rest_of_a_circuit_is_not_longer_than_the_longest(
        self, env, pair
    ):
        env(**pair)

        (problem,) = problems()

        assert problem.startswith("VX11_BREAKER_OPEN_MAX: ")
        assert "VX11_BREAKER_OPEN (" in problem

    def test_a_long_first_rest_prolongs_the_longest(self, env):
        env(BREAKER_OPEN="61")

        assert load().breaker_open_max == 61

    def test_a_stream_may_last_as_long_as_a_chat_at_least(self, env):
        env(CHAT_DEADLINE="700")
        assert load().stream_deadline == 700

        env(STREAM_DEADLINE="650")
        (problem,) = problems()

        assert problem.startswith("VX11_STREAM_DEADLINE: 650 must be at least ")
        assert "VX11_CHAT_DEADLINE (700)" in problem

    def test_a_short_key_of_the_chain_is_refused(self, env):
        env(AUDIT_KEY="fifteen-letters")
        (problem,) = problems()
        assert problem.startswith("VX11_AUDIT_KEY: ")
        assert "fifteen" not in problem

        env(AUDIT_KEY="sixteen-letters.")
        assert load().audit_key_bytes() == b"sixteen-letters."

    def test_a_grace_below_the_deadline_is_an_operators_choice(self, env):
        env(GRACE="3")

        assert load().grace == 3


class TestTheFileItself:
    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"\xff\xfe", "is not UTF-8"),
            (b"a = " + b"[" * 9000, "is nested too deeply"),
            (b"\n\nworkers = [\nthreads = 30\n", "are not closed, or line 4 is wrong"),
        ],
    )
    def test_what_is_wrong_with_it_is_told(self, env, tmp_path, data, reason):
        file = tmp_path / "gateway.toml"
        file.write_bytes(data)
        env(CONFIG=str(file), TENTACULO_LINK_TOKEN=TOKEN)

        (problem,) = problems()
        assert str(file) in problem
        assert problem.endswith(reason)

    def test_a_folder_is_no_file(self, env, tmp_path):
        env(CONFIG=str(tmp_path), TENTACULO_LINK_TOKEN=TOKEN)

        assert problems() == [f"VX11_CONFIG: {tmp_path} cannot be read: Is a directory"]


class TestConflicts:
    def test_what_is_not_known_is_not_looked_at(self):
        assert conflicts({}) == []
        assert conflicts({"threads": 1, "slots": 9, "breaker_open": 5.0}) == []

    def test_all_are_told_and_each_by_its_variable(self):
        values = {"auth_mode": "token", "token": None, "bind": "a:1"}
        values |= {"metrics_bind": "b:1", "breaker_open": 5.0, "breaker_open_max": 4.0}

        assert [problem.loc for problem in conflicts(values)] == [
            ("token",),
            ("breaker_open_max",),
            ("metrics_bind",),
        ]

    def test_the_longest_deadline_leaves_a_grace_that_may_be(self, env):
        env(CHAT_DEADLINE="3600", TENTACULO_LINK_TOKEN=TOKEN)

        assert load().grace == 3600


class TestOldNames:
    """A setting that was renamed is still read under the name of before."""

    @pytest.mark.parametrize(
        ("before", "now", "value"),
        [
            ("patience", "hang_check_after", 1.5),
            ("breaker_minimum", "breaker_min_calls", 7),
        ],
    )
    def test_as_a_variable_and_in_the_file(self, env, config, before, now, value):
        env(TENTACULO_LINK_TOKEN=TOKEN)
        config(f"{before} = {value}")
        assert getattr(load(), now) == value

        config(f"{before} = 9\n{now} = {value}")
        assert getattr(load(), now) == value

        env(**{before.upper(): "8"})
        assert getattr(load(), now) == 8
        assert f"VX11_{before.upper()}" in in_force(load())
        assert warnings_about() == []

        env(**{now.upper(): "6"})
        assert getattr(load(), now) == 6

    def test_a_wrong_one_in_the_file_is_named_as_it_is_called_now(self, env, config):
        env(TENTACULO_LINK_TOKEN=TOKEN)
        file = config('\npatience = "canary"')

        with pytest.raises(SettingsError) as refused:
            load()

        [problem] = refused.value.problems
        assert problem == f"{file}:2: hang_check_after: must be a number"
        assert "canary" not in problem
