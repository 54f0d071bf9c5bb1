"""Creates, updates and deletes the root stack, and tells what goes on meanwhile."""

from __future__ import annotations

import sys
import time

from botocore.exceptions import ClientError

from deployment.clients import Clients
from deployment.problems import DeployError

CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
DEADLINE_SECS = 1800.0
# A first creation that failed leaves a stack that can only be deleted.
DEAD_ENDS = {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED", "REVIEW_IN_PROGRESS"}
TABLES = ("dedupe", "payments", "audit", "outbox")


def deploy_stack(clients: Clients, name: str, template: str, parameters: dict[str, str]) -> dict[str, str]:
    """Returns the outputs. "Nothing to change" is a success."""
    request = {
        "StackName": name,
        "TemplateBody": template,
        "Capabilities": CAPABILITIES,
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
    }
    status = _status(clients, name)
    if status in DEAD_ENDS:
        _say(f"{name} is {status} from an earlier try: deleting it first")
        delete_stack(clients, name, with_data=False)
        status = None
    try:
        if status is None:
            stack_id = clients.cloudformation.create_stack(**request)["StackId"]
        else:
            stack_id = clients.cloudformation.update_stack(**request)["StackId"]
    except ClientError as error:
        if "No updates are to be performed" in str(error):
            _say(f"{name}: nothing to change")
            return _outputs(clients, name)
        raise DeployError(f"{name}: {error}") from error
    final = _follow(clients, stack_id)
    if final not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        reasons = _failures(clients, stack_id)
        raise DeployError("\n  ".join([f"{name} ended as {final}", *reasons]))
    _check_nested(clients, stack_id, parameters["CodeVersion"])
    return _outputs(clients, name)


def delete_stack(clients: Clients, name: str, with_data: bool) -> bool:
    """Returns whether there was one. The tables stay unless `with_data`."""
    try:
        stack = clients.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError:
        stack = None
    if stack:
        clients.cloudformation.delete_stack(StackName=stack["StackId"])
        final = _follow(clients, stack["StackId"])
        if final != "DELETE_COMPLETE":
            raise DeployError("\n  ".join([f"{name} ended as {final}", *_failures(clients, stack["StackId"])]))
    if with_data:
        for table in TABLES:
            try:
                clients.dynamodb.delete_table(TableName=f"{name}-{table}")
            except clients.dynamodb.exceptions.ResourceNotFoundException:
                pass
    return stack is not None


def _follow(clients: Clients, stack_id: str) -> str:
    """Polls to the end, telling each change of a nested stack; returns the final status."""
    started = time.monotonic()
    told: dict[str, str] = {}
    while True:
        status = _status(clients, stack_id) or "DELETE_COMPLETE"
        if not status.endswith("IN_PROGRESS"):
            _say(f"{stack_id.split('/')[-2]} {status} ({time.monotonic() - started:.1f} s)")
            return status
        for resource in _resources(clients, stack_id):
            what, state = resource["LogicalResourceId"], resource["ResourceStatus"]
            if told.get(what) != state:
                told[what] = state
                _say(f"  {what} {state} ({time.monotonic() - started:.1f} s)")
        if time.monotonic() - started > DEADLINE_SECS:
            raise DeployError(f"{stack_id} is still {status} after {DEADLINE_SECS:.0f} s")
        time.sleep(clients.poll_secs)


def _status(clients: Clients, name: str) -> str | None:
    try:
        return clients.cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise DeployError(f"{name}: {error}") from error


def _resources(clients: Clients, stack_id: str) -> list[dict]:
    try:
        return clients.cloudformation.describe_stack_resources(StackName=stack_id)["StackResources"]
    except ClientError:
        return []


def _check_nested(clients: Clients, stack_id: str, version: str) -> None:
    """An emulator may report an update of nested stacks that it did not carry out."""
    for resource in _resources(clients, stack_id):
        if resource["LogicalResourceId"] == "Functions":
            nested = clients.cloudformation.describe_stacks(StackName=resource["PhysicalResourceId"])["Stacks"][0]
            found = {one["ParameterKey"]: one.get("ParameterValue") for one in nested.get("Parameters", [])}
            if found.get("CodeVersion") != version:
                raise DeployError("this endpoint does not update nested stacks: delete the stack, then deploy it again")


def _failures(clients: Clients, stack_id: str) -> list[str]:
    """Each failed resource with its reason, down through the nested stacks."""
    found = []
    try:
        events = clients.cloudformation.describe_stack_events(StackName=stack_id)["StackEvents"]
    except ClientError:
        return found
    for event in reversed(events):
        nested = event.get("PhysicalResourceId", "")
        if not event.get("ResourceStatus", "").endswith("_FAILED") or nested == stack_id:
            continue
        reason = event.get("ResourceStatusReason", "no reason given")
        found.append(f"{event['LogicalResourceId']} ({event.get('ResourceType')}): {reason}")
        if event.get("ResourceType") == "AWS::CloudFormation::Stack" and ":stack/" in nested:
            found += [f"  {line}" for line in _failures(clients, nested)]
    return found


def _outputs(clients: Clients, name: str) -> dict[str, str]:
    stack = clients.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _say(message: str) -> None:
    print(f"deploy: {message}", file=sys.stderr, flush=True)
