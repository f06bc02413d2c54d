"""Settings: each one checked, wrong ones named."""

from pathlib import Path

import pytest

from vimmon.errors import SettingsError
from vimmon.settings import environment, load_settings

BARE = {"VIMMON_ENV_FILE": "/dev/null"}


def test_nothing_set_gives_the_defaults() -> None:
    settings = load_settings(BARE)
    assert settings.redis_url.get_secret_value() == "redis://127.0.0.1:6379/0"
    assert settings.database_url.get_secret_value().endswith("/vimmon/vimmon.sqlite")
    assert settings.check_interval_s == 60


def test_an_unknown_variable_is_refused_and_the_nearest_named() -> None:
    with pytest.raises(SettingsError, match="VIMMON_REDIS_URI is not a setting; the nearest is VIMMON_REDIS_URL"):
        load_settings({**BARE, "VIMMON_REDIS_URI": "redis://x"})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("VIMMON_CHECK_INTERVAL_S", "soon"),
        ("VIMMON_CHECK_INTERVAL_S", "0"),
        ("VIMMON_RPC_BATCH", "0"),
        ("VIMMON_PREFIX", "a:b"),
        ("VIMMON_EXECUTOR_NAME", ""),
        ("VIMMON_MISTRAL_TIMEOUT_S", "-1"),
        ("VIMMON_RECONCILE_INTERVAL_S", "inf"),
        ("VIMMON_CHECK_INTERVAL_S", "nan"),
        ("VIMMON_HISTORY_DAYS", "1e300"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        load_settings({**BARE, variable: value})


@pytest.mark.parametrize(
    "values",
    [
        {"VIMMON_EXECUTOR_TTL_S": "15"},
        {"VIMMON_CONDUCTOR_TTL_S": "9"},
        {"VIMMON_TAKEN_MAX_AGE_S": "10"},
        {"VIMMON_LEASE_TTL_S": "200"},
        {"VIMMON_PURGE_AFTER_S": "60"},
        {"VIMMON_PURGE_AFTER_S": "1e300"},
        {"VIMMON_CONDUCTOR_BEAT_S": "1e-9"},
    ],
)
def test_values_that_do_not_fit_together_are_refused(values: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="must"):
        load_settings({**BARE, **values})


def test_the_file_stands_below_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "vimmon.env"
    file.write_text("VIMMON_PREFIX=from-file\nVIMMON_RPC_BATCH=7\nOS_USERNAME=ops\n")
    given = {"VIMMON_ENV_FILE": str(file), "VIMMON_RPC_BATCH": "8"}
    settings = load_settings(given)
    assert (settings.prefix, settings.rpc_batch) == ("from-file", 8)
    assert environment(given)["OS_USERNAME"] == "ops"


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="VIMMON_ENV_FILE: there is no file"):
        load_settings({"VIMMON_ENV_FILE": str(tmp_path / "none")})


def test_a_password_in_a_url_is_not_shown() -> None:
    settings = load_settings(
        {**BARE, "VIMMON_REDIS_URL": "redis://:s3cr3t@h/0", "VIMMON_DATABASE_URL": "postgresql://u:s3cr3t@h/d"}
    )
    assert "s3cr3t" not in repr(settings)
    assert "s3cr3t" not in str(settings)


def test_a_password_in_mistrals_url_is_refused_without_being_repeated() -> None:
    with pytest.raises(SettingsError, match="mistral_url must not contain") as caught:
        load_settings({**BARE, "VIMMON_MISTRAL_URL": "http://u:s3cr3t@h:8989/v2"})
    assert "s3cr3t" not in str(caught.value)


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="is not a text file"):
        load_settings({"VIMMON_ENV_FILE": str(tmp_path / "binary")})
