"""LocalStack without Docker: functions run as plain processes, DynamoDB on a locked moto.

Its entry points, declared in `entry_points.txt` beside this package:

* `localstack.lambda.runtime_executor: process` -> `plugin.ProcessRuntimeExecutorPlugin`
* `localstack.aws.provider: dynamodb:locked` -> `dynamodb.dynamodb_locked`
* `localstack.hooks.on_infra_start` -> `deployments.mend_nested_stacks`

Reading order: `executor` (what LocalStack calls), `runtime` (one process and its Runtime
API), `process` and `function_log` (the operating system's side), `transactions` (what
moto's DynamoDB lacks).
"""
