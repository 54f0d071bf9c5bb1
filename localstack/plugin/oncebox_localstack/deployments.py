"""What LocalStack's CloudFormation lacks here: updates of nested stacks, and quick waiting."""

from __future__ import annotations

from botocore.exceptions import ClientError
from localstack.runtime import hooks

POLL_SECS = 0.05
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
UPDATE_SENT = "oncebox_update_sent"


@hooks.on_infra_start()
def mend_nested_stacks() -> None:
    """Puts all three in place before the first request."""
    from localstack.services.cloudformation.engine.v2.change_set_model import ChangeSetModel, ChangeType
    from localstack.services.cloudformation.resource_provider import ResourceProviderExecutor
    from localstack.services.cloudformation.resource_providers.aws_cloudformation_stack import (
        CloudFormationStackProvider,
    )

    original = ResourceProviderExecutor.deploy_loop
    resolve_find_in_map = ChangeSetModel._resolve_intrinsic_function_fn_find_in_map

    def deploy_loop(self, resource_provider, resource, raw_payload, **options):
        # LocalStack looks at an unfinished resource once a second: a second per nested stack.
        options.setdefault("sleep_time", POLL_SECS)
        return original(self, resource_provider, resource, raw_payload, **options)

    def find_in_map(self, arguments):
        # Comparing two templates, LocalStack gives up on a key that is a Ref. Taken for
        # changed, the value is worked out anew, and is the same.
        try:
            return resolve_find_in_map(self, arguments)
        except NotImplementedError:
            return ChangeType.MODIFIED

    ResourceProviderExecutor.deploy_loop = deploy_loop
    ChangeSetModel._resolve_intrinsic_function_fn_find_in_map = find_in_map
    CloudFormationStackProvider.update = _update_nested_stack


def _update_nested_stack(_provider, request):
    """LocalStack's own raises NotImplementedError, which its engine reports as a success."""
    from localstack.services.cloudformation.resource_provider import OperationStatus, ProgressEvent

    cloudformation = request.aws_client_factory.cloudformation
    model = request.desired_state
    model["Id"] = request.previous_state["Id"]
    model["StackName"] = request.previous_state.get("StackName")

    def progress(status, message=""):
        return ProgressEvent(
            status=status, resource_model=model, custom_context=request.custom_context, message=message
        )

    if not request.custom_context.get(UPDATE_SENT):
        parameters = (model.get("Parameters") or {}).items()
        try:
            cloudformation.update_stack(
                StackName=model["Id"], TemplateURL=model["TemplateURL"], Capabilities=CAPABILITIES,
                Parameters=[{"ParameterKey": key, "ParameterValue": str(value)} for key, value in parameters],
            )
        except ClientError as error:
            if "No updates are to be performed" not in str(error):
                return progress(OperationStatus.FAILED, str(error))
        request.custom_context[UPDATE_SENT] = True
        return progress(OperationStatus.IN_PROGRESS)

    stack = cloudformation.describe_stacks(StackName=model["Id"])["Stacks"][0]
    if stack["StackStatus"].endswith("IN_PROGRESS"):
        return progress(OperationStatus.IN_PROGRESS)
    if stack["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        return progress(OperationStatus.FAILED, f"nested stack is {stack['StackStatus']}")
    model["Outputs"] = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    return progress(OperationStatus.SUCCESS)
