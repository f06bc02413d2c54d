"""The page of all settings is what the settings say."""

from tests.documents.configuration import PAGE, page
from vimmon.settings import PREFIX, Settings


def test_the_page_of_settings_is_not_out_of_date() -> None:
    assert PAGE.read_text() == page(), "write it anew: make docs"


def test_every_setting_says_what_it_is_for() -> None:
    text = page()
    for name, field in Settings.model_fields.items():
        assert f"| `{PREFIX}{name.upper()}` |" in text
        assert field.description
