"""What the store does not take in, since not every database could keep it."""

import pytest

from tests.integration.databases import registered
from vimmon.errors import InvalidInput
from vimmon.registry.store import VimStore
from vimmon.vim import VimType

BAD_TEXTS = ["nul\0", "half \ud800", "x" * 3000]


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_text_that_a_database_cannot_keep_is_refused_by_its_field(store: VimStore, text: str) -> None:
    registered(store)
    fine = {"vim_id": "v", "name": "n", "auth_url": "u", "action_id": "a"}
    for field in fine:
        with pytest.raises(InvalidInput, match=f"{field}: ") as caught:
            store.register(**(fine | {field: text}), vim_type=VimType.GENERIC, probe={})  # type: ignore[arg-type]  # str
        assert caught.value.remedy
    with pytest.raises(InvalidInput, match="name: "):
        store.rename("vim-1", text)
    for field in ("name", "auth_url"):
        with pytest.raises(InvalidInput, match=f"{field}: "):
            store.restart("vim-1", expected_generation=1, action_id="a2", **{field: text})  # type: ignore[arg-type]  # str
    with pytest.raises(InvalidInput, match="execution_id: "):
        store.record_execution("vim-1", generation=1, execution_id=text)
    for method in (store.wanted, store.history, store.record_clean):
        with pytest.raises(InvalidInput, match="vim_id: "):
            method(text)


@pytest.mark.parametrize("probe", [{"x": float("nan")}, {"x": object()}, {"x": "y" * 9000}])
def test_a_probe_that_is_not_json_or_too_long_is_refused(store: VimStore, probe: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="probe: "):
        store.register(vim_id="v", name="n", auth_url="u", action_id="a", vim_type=VimType.GENERIC, probe=probe)


def test_a_probe_may_hold_any_text(store: VimStore) -> None:
    probe = {"x": "nul\0, half \ud800, 🗼"}
    store.register(vim_id="v", name="n", auth_url="u", action_id="a", vim_type=VimType.GENERIC, probe=probe)
    assert store.get("v").probe == probe
