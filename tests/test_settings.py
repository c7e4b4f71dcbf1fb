import pytest

from app.settings import Settings, SettingsError, load

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
        config(f'token = "{TOKEN}"\ntreads = 5')

        assert problems() == ["VX11_TREADS: Extra inputs are not permitted"]

    def test_an_entry_is_named_by_its_place(self, config):
        config(f'token = "{TOKEN}"\n[[upstreams]]\nname = "a"\nkind = "switch"')

        assert problems() == ["VX11_UPSTREAMS[0].url: Field required"]

    def test_two_upstreams_cannot_share_a_name(self, config):
        one = '[[upstreams]]\nname = "a"\nkind = "switch"\nurl = "http://x"\n'
        config(f'token = "{TOKEN}"\n{one}{one}')

        assert "same name" in problems()[0]

    @pytest.mark.parametrize("text", ["not toml", "threads = "])
    def test_one_that_does_not_parse_is_named(self, config, text):
        config(text)

        assert problems()[0].startswith("VX11_CONFIG")

    def test_an_openai_upstream_has_its_key_from_a_variable(self, config, monkeypatch):
        monkeypatch.setenv("THE_KEY", "sk-canary")
        config(OPENAI + 'api_key_env = "THE_KEY"\nretries = 2')

        settings = load(token=TOKEN)

        assert settings.upstreams[0].api_key.get_secret_value() == "sk-canary"
        assert "sk-canary" not in settings.model_dump_json() + repr(settings)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ('api_key_env = "NOT_SET"', "NOT_SET: is unset"),
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

    def test_what_is_for_openai_is_for_no_other_kind(self, config):
        config(OPENAI.replace('"openai"', '"switch"') + "retries = 1")

        with pytest.raises(SettingsError, match="retries: only for kind openai"):
            load(token=TOKEN)

    def test_a_route_leads_to_upstreams_that_there_are(self, config):
        config(OPENAI + '[[routes]]\nmodel = "gpt-*"\nupstreams = ["vllm"]')
        assert load(token=TOKEN).routes[0].upstreams == ("vllm",)

        config(OPENAI + '[[routes]]\nmodel = "gpt-*"\nupstreams = ["vllm", "no"]')
        with pytest.raises(SettingsError, match="no upstream no"):
            load(token=TOKEN)

    def test_one_that_is_not_there_is_named(self, env):
        env(CONFIG="/no/such/file.toml", TENTACULO_LINK_TOKEN=TOKEN)

        assert problems() == ["VX11_CONFIG: there is no such file"]


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
        """At threads = slots + queue the gate does nothing (pitfalls, 2.13)."""
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
