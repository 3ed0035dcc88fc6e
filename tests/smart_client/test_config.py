from pathlib import Path

import pytest

from redundancy.errors import ConfigError, UsageError
from smart_client.config import ClientConfig, parse_seconds


@pytest.fixture(autouse=True)
def clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("SMART_CLIENT_COORDINATOR", "SMART_CLIENT_TOKEN_FILE", "SMART_CLIENT_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_every_source_overrides_the_ones_below_it(clean_place: Path, monkeypatch) -> None:
    user = clean_place / "config" / "smart-client"
    user.mkdir(parents=True)
    (user / "config.toml").write_text('coordinator = "http://user:1"\nbuffer_s = 60\n')
    assert ClientConfig.load({}).coordinator == ("http://user:1",)
    (clean_place / "smart-client.toml").write_text('coordinator = "http://here:2"\n')
    assert ClientConfig.load({}).coordinator == ("http://here:2",)
    monkeypatch.setenv("SMART_CLIENT_COORDINATOR", "http://env:3")
    assert ClientConfig.load({}).coordinator == ("http://env:3",)
    config = ClientConfig.load({"coordinator": "http://flag:4,http://flag:5/"})
    assert config.coordinator == ("http://flag:4", "http://flag:5")
    assert config.buffer_s == 60
    assert config.origins["coordinator"] == "flag"
    assert config.origins["buffer_s"].endswith("config.toml")
    assert "cache_dir" not in config.origins


def test_an_unknown_setting_is_refused_with_the_nearest_name(clean_place: Path) -> None:
    (clean_place / "smart-client.toml").write_text("bufer_s = 3\n")
    with pytest.raises(ConfigError) as caught:
        ClientConfig.load({})
    assert "buffer_s" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "coordinator = 'ftp://x'",
        "coordinator = 5",
        "buffer_s = 'soon'",
        "buffer_s = 1\nstart_buffer_s = 2",
        "timeout_s = 0",
        "not toml",
    ],
)
def test_a_bad_value_names_its_file_or_its_rule(clean_place: Path, text: str) -> None:
    (clean_place / "smart-client.toml").write_text(text)
    with pytest.raises(ConfigError):
        ClientConfig.load({})


def test_a_named_file_that_is_missing_is_an_error(clean_place: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        ClientConfig.load({}, "nowhere.toml")


def test_a_token_comes_from_a_private_file_only(clean_place: Path) -> None:
    token = clean_place / "token"
    token.write_text("secret\n")
    token.chmod(0o644)
    with pytest.raises(ConfigError, match="others") as caught:
        ClientConfig.load({"token_file": str(token)}).token()
    assert "chmod 600" in caught.value.hint
    token.chmod(0o600)
    assert ClientConfig.load({"token_file": str(token)}).token() == "secret"
    assert ClientConfig.load({}).token() is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30.0), ("30s", 30.0), ("500ms", 0.5), ("2min", 120.0), ("1h", 3600)],
)
def test_times_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-5", "5 parsecs", "1e9"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_seconds(text)
