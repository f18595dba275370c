"""Settings from LAB_* variables: what is unknown or cannot be used is an error, never a silent default."""

from dataclasses import FrozenInstanceError, fields

import pytest

from lab.settings import Settings, SettingsError, read_settings


def test_without_variables_everything_has_its_default() -> None:
    assert read_settings({}) == Settings()


def test_variables_of_others_do_not_matter() -> None:
    assert (
        read_settings({"HOME": "/root", "LABEL": "x", "MY_LAB_NAMESPACE": "x", "lab_namespace": "x"})
        == Settings()
    )


@pytest.mark.parametrize("name", ["LAB_NAMESPAC", "LAB_", "LAB_REDIS", "LAB_redis_url", "LAB_NAMESPACE_"])
def test_an_unknown_variable_is_an_error_that_names_it_and_those_there_are(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({name: "x"})
    assert str(caught.value).startswith(f"{name} is not a setting")
    assert "LAB_NAMESPACE," in str(caught.value)


@pytest.mark.parametrize("field", [field.name for field in fields(Settings)])
def test_every_field_is_a_variable(field: str) -> None:
    default = getattr(Settings(), field)
    given = {"queue_type": "quorum", "log_level": "ERROR", "pyro_key": "0123456789abcdef"}
    more = {"middlewares": "contrib.sockets", "pyro_serializer": "serpent"}
    more |= {"redis_url": "redis://127.0.0.1:1", "amqp_url": "amqp://127.0.0.1:1"}
    raw = {**given, **more}.get(field, "1")
    read = getattr(read_settings({f"LAB_{field.upper()}": raw}), field)
    assert (read, type(read)) == (type(default)(raw), type(default))


@pytest.mark.parametrize("name", ["LAB_REDIS_URL", "LAB_AMQP_URL"])
@pytest.mark.parametrize("url", ["foo", "http://secret@host", "redis", "redis://host:secret", "amqp://h:0x"])
def test_what_is_no_url_of_a_broker_is_refused_and_not_shown(name: str, url: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is not a URL like") as caught:
        read_settings({name: url})
    assert "secret" not in str(caught.value)


def test_text_is_taken_as_it_is() -> None:
    url = "redis://:secret@host:1/0?x=%20 "
    assert read_settings({"LAB_REDIS_URL": url}).redis_url == url


@pytest.mark.parametrize("raw", ["1", "true", "True", "yes", "YES"])
def test_a_switch_is_turned_on(raw: str) -> None:
    assert read_settings({"LAB_REQUIRE_BROKERS": raw}).require_brokers is True


@pytest.mark.parametrize("raw", ["", "0", "false", "FALSE", "no"])
def test_a_switch_is_turned_off(raw: str) -> None:
    assert read_settings({"LAB_REQUIRE_BROKERS": raw}).require_brokers is False


@pytest.mark.parametrize("raw", ["2", "on", "y", " 1", "-1"])
def test_a_switch_that_is_neither_is_an_error(raw: str) -> None:
    with pytest.raises(SettingsError, match="LAB_REQUIRE_BROKERS"):
        read_settings({"LAB_REQUIRE_BROKERS": raw})


@pytest.mark.parametrize(("raw", "number"), [("0", 0), ("60", 60), ("007", 7)])
def test_a_whole_number_is_read(raw: str, number: int) -> None:
    assert read_settings({"LAB_PARENT": raw}).parent == number


@pytest.mark.parametrize("raw", ["", "-1", "1.5", "15m", "1e3", "0x10", "²", " 1"])
def test_what_is_no_whole_number_is_an_error(raw: str) -> None:
    with pytest.raises(SettingsError, match="LAB_ID_TTL"):
        read_settings({"LAB_ID_TTL": raw})


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().namespace = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("LAB_QUEUE_TYPE", "stream"),
        ("LAB_PYRO_SERIALIZER", "pickle"),
        ("LAB_LOG_LEVEL", "loud"),
        ("LAB_ID_TTL", "0"),
    ],
)
def test_a_value_that_nobody_could_use_is_an_error_at_once(name: str, raw: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read_settings({name: raw})


def test_a_key_that_is_too_short_is_an_error_that_does_not_show_it() -> None:
    with pytest.raises(SettingsError, match="LAB_PYRO_KEY must have 16") as caught:
        read_settings({"LAB_PYRO_KEY": "xyzzy"})
    assert "xyzzy" not in str(caught.value)
    assert "0123456789abcdef" not in repr(read_settings({"LAB_PYRO_KEY": "0123456789abcdef"}))
