"""A VIM's workflow, as Mistral will read it."""

import yaml

from vimmon.mistral.workflow import ACTION, INPUTS, definition, installation_tag, workflow_name


def test_the_workflow_hands_its_inputs_to_one_action_and_is_tagged() -> None:
    read = yaml.safe_load(definition("v-1", "inst"))
    workflow = read[workflow_name("v-1")]
    assert read["version"] == "2.0"
    assert installation_tag("inst") in workflow["tags"]
    assert set(workflow["input"]) == set(INPUTS)
    (task,) = workflow["tasks"].values()
    assert task["action"] == ACTION
    assert task["input"] == {name: f"<% $.{name} %>" for name in INPUTS}
