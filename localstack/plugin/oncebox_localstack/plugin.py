"""Tells LocalStack about the process executor. Imports nothing heavy until it is loaded."""

from localstack.services.lambda_.invocation.plugins import RuntimeExecutorPlugin


class ProcessRuntimeExecutorPlugin(RuntimeExecutorPlugin):
    """Selected by `LAMBDA_RUNTIME_EXECUTOR=process`."""

    name = "process"

    def load(self, *args, **kwargs):
        from oncebox_localstack.executor import ProcessExecutor

        return ProcessExecutor
