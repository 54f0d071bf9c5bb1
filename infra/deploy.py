#!/usr/bin/env python3
"""Deploys Oncebox's templates and functions, to AWS and to LocalStack alike.

Needs boto3 (`$ONCEBOX_PYTHON` inside the local stack has it) and the SDK's usual settings:
AWS_ENDPOINT_URL, AWS_REGION, credentials.

    deploy.py deploy --prefix P --functions-dir DIR [--parameter K=V …] [--bucket B] [--json]
    deploy.py deploy … --template FILE --function NAME …     # a template and functions of your own
    deploy.py delete --prefix P [--with-data] [--json]

Exit codes: 0 done, or nothing to do; 1 it failed, with the resource and its reason on
stderr; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from deployment.clients import Clients
from deployment.problems import DeployError
from deployment.release import Release
from deployment.stack import delete_stack, deploy_stack

def main() -> int:
    """Parses the command line, does it, returns the exit code."""
    arguments = _parser().parse_args()
    try:
        return arguments.do(Clients(), arguments)
    except DeployError as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("deploy: interrupted; the stack goes on by itself", file=sys.stderr)
        return 130


def _deploy(clients: Clients, arguments: argparse.Namespace) -> int:
    if bool(arguments.template) != bool(arguments.function):
        raise DeployError("--template and --function go together: a template, and the functions that it describes")
    release = Release(arguments.functions_dir, arguments.template, arguments.function)
    bucket = arguments.bucket or clients.default_bucket()
    release.upload(clients, bucket)
    parameters = dict(arguments.parameter) | {
        "Prefix": arguments.prefix,
        "CodeBucket": bucket,
        "CodeVersion": release.version,
    }
    outputs = deploy_stack(clients, arguments.prefix, release.root_template, parameters)
    if arguments.json:
        print(json.dumps(outputs, indent=2, sort_keys=True))
    else:
        for name, value in sorted(outputs.items()):
            print(f"{name}={value}")
    return 0


def _delete(clients: Clients, arguments: argparse.Namespace) -> int:
    deleted = delete_stack(clients, arguments.prefix, with_data=arguments.with_data)
    if arguments.json:
        print(json.dumps({"deleted": deleted}))
    return 0


def _key_and_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text} is not KEY=VALUE")
    return key, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    deploy = commands.add_parser("deploy", help="create the stack, or bring it up to date")
    deploy.set_defaults(do=_deploy)
    deploy.add_argument("--functions-dir", type=Path, required=True, help="folder with the functions' binaries")
    deploy.add_argument("--template", type=Path, help="instead of the demonstration's: gets Prefix, CodeBucket, CodeVersion")
    deploy.add_argument("--function", action="append", metavar="NAME", help="a function of it: CodeVersion/NAME.zip in CodeBucket")
    deploy.add_argument("--parameter", type=_key_and_value, action="append", default=[], metavar="K=V")
    deploy.add_argument("--bucket", help="for templates and code (default: one for the account and region)")
    delete = commands.add_parser("delete", help="delete the stack; its tables stay")
    delete.set_defaults(do=_delete)
    delete.add_argument("--with-data", action="store_true", help="delete the tables too: their records are lost")
    for command in (deploy, delete):
        command.add_argument("--prefix", required=True, help="the stack's name, and what every name in it starts with")
        command.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
