"""A VIM's workflow, as Mistral will read it."""

import uuid

import yaml
from mistral.lang.parser import get_workflow_list_spec_from_yaml

from vimmon.mistral.workflow import ACTION, INPUTS, RETRY, definition, installation_tag, workflow_name
from vimmon.settings import Settings


def test_the_workflow_hands_its_inputs_to_one_action_and_is_tagged() -> None:
    read = yaml.safe_load(definition("v-1", "inst"))
    workflow = read[workflow_name("v-1")]
    assert read["version"] == "2.0"
    assert installation_tag("inst") in workflow["tags"]
    assert set(workflow["input"]) == set(INPUTS)
    (task,) = workflow["tasks"].values()
    assert task["action"] == ACTION
    assert task["input"] == {name: f"<% $.{name} %>" for name in INPUTS}


def test_mistral_would_find_it_valid_if_it_looked() -> None:
    """vimmon has asked it not to."""
    vim_id, installation_id = (str(uuid.UUID(int=number)) for number in (7, 0x1E100000 << 96))
    (found,) = get_workflow_list_spec_from_yaml(definition(vim_id, installation_id), validate=True).get_workflows()
    assert found.get_name() == workflow_name(vim_id)


def test_mistral_hands_out_what_was_refused_for_less_than_the_grace_of_a_start() -> None:
    (task,) = yaml.safe_load(definition("v-1", "inst"))[workflow_name("v-1")]["tasks"].values()
    assert task["retry"] == RETRY
    assert RETRY["delay"] * RETRY["count"] < Settings().start_grace_s
