"""What the templates give whom, and what AWS says of the actions in them. JSON in, JSON out.

    roles      {"template", "parameters"}  ->  {logical id: {"statements": [{"actions", "resources", "condition"}]}}
    names      {"folder"}                  ->  ["template: logical id"]
    reference  {"actions"}                 ->  {action: [kinds of resources]}

Templates are read as CloudFormation would resolve them, for the functions that are in use; what is not known here is an
error, never passed by. It runs with the local stack's Python, which has cfn-lint.
"""

import json
import sys
from pathlib import Path

import cfnlint.data.AdditionalSpecs
from cfnlint.decode import cfn_yaml

PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "000000000000",
    "AWS::URLSuffix": "amazonaws.com",
}
NO_VALUE = object()


class Template:
    def __init__(self, path, given):
        self.document = cfn_yaml.load(str(path))
        self.given = given

    def policies(self):
        """(logical id, the documents of its policies) of all that gives rights."""
        for name, resource in self.document["Resources"].items():
            if name.startswith("Fn::ForEach::"):
                continue
            kind, properties = resource["Type"], resource.get("Properties", {})
            if kind == "AWS::IAM::Role":
                known = {"AssumeRolePolicyDocument", "Policies", "Description", "RoleName", "Path"}
                if unknown := set(properties) - known:
                    raise SystemExit(f"{name}: {sorted(unknown)} may give rights that nobody compares")
                yield name, lambda p=properties: [policy["PolicyDocument"] for policy in self.value(p.get("Policies", []))]
            elif kind == "AWS::IAM::ManagedPolicy":
                yield name, lambda p=properties: [self.value(p["PolicyDocument"])]
            elif kind.startswith("AWS::IAM::") or kind.startswith("AWS::Serverless::"):
                raise SystemExit(f"{name}: a {kind} may give rights that nobody compares")

    def value(self, raw):
        if isinstance(raw, list):
            return [value for value in (self.value(entry) for entry in raw) if value is not NO_VALUE]
        if not isinstance(raw, dict):
            return str(raw) if isinstance(raw, str) else raw
        if len(raw) == 1:
            (function, of), = raw.items()
            if function == "Ref":
                return self.reference(of)
            if function == "Condition" and isinstance(of, str):
                return self.condition(of)
            if function.startswith("Fn::"):
                return self.call(function, of)
        values = {str(key): self.value(entry) for key, entry in raw.items()}
        return {key: value for key, value in values.items() if value is not NO_VALUE}

    def reference(self, name):
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in PSEUDO:
            return PSEUDO[name]
        parameter = self.document.get("Parameters", {}).get(name)
        if parameter is None:
            return f"resource:{name}"
        value = self.given.get(name, parameter.get("Default"))
        if value is None:
            raise SystemExit(f"parameter {name} has no value")
        is_list = parameter["Type"] == "CommaDelimitedList" or parameter["Type"].startswith("List<")
        return value.split(",") if is_list else str(value)

    def call(self, function, of):
        if function == "Fn::Sub" and isinstance(of, str):
            parts = of.split("${")
            filled = [parts[0]]
            for part in parts[1:]:
                name, rest = part.split("}", 1)
                filled.append(self.attribute(*name.split(".", 1)) if "." in name else self.reference(name))
                filled.append(rest)
            return "".join(filled)
        if function == "Fn::GetAtt":
            return self.attribute(*(of.split(".", 1) if isinstance(of, str) else of))
        if function == "Fn::If":
            name, then, otherwise = of
            return self.value(then if self.condition(name) else otherwise)
        if function == "Fn::Join":
            separator, entries = of
            return separator.join(self.value(entries))
        if function == "Fn::Equals":
            left, right = (self.value(side) for side in of)
            return left == right
        if function == "Fn::Not":
            return not self.value(of[0])
        if function == "Fn::And":
            return all(self.value(part) for part in of)
        if function == "Fn::Or":
            return any(self.value(part) for part in of)
        raise SystemExit(f"{function} is not known to tests/src/rights/templates.py")

    def attribute(self, name, attribute):
        return f"resource:{name}.{attribute}"

    def condition(self, name):
        return self.value(self.document["Conditions"][name])


def statement(written):
    unknown = set(written) - {"Sid", "Effect", "Action", "Resource", "Condition"}
    if unknown or written["Effect"] != "Allow":
        raise SystemExit(f"a statement that is not understood: {written}")
    many = lambda value: value if isinstance(value, list) else [value]
    return {
        "actions": many(written["Action"]),
        "resources": many(written["Resource"]),
        "condition": written.get("Condition"),
    }


def roles(asked):
    template = Template(asked["template"], asked["parameters"])
    return {
        name: {"statements": [statement(one) for document in documents() for one in document["Statement"]]}
        for name, documents in template.policies()
    }


def names(asked):
    paths = sorted(Path(asked["folder"]).glob("*.yaml"))
    return [f"{path.name}: {name}" for path in paths for name, _ in Template(path, {}).policies()]


def reference(asked):
    path = Path(cfnlint.data.AdditionalSpecs.__file__).with_name("Policies.json")
    services = json.loads(path.read_text())
    found = {}
    for action in asked["actions"]:
        service, name = action.split(":")
        known = services.get(service, {}).get("Actions", {})
        if name.lower() in known:
            found[action] = known[name.lower()].get("Resources", [])
    return found


if __name__ == "__main__":
    commands = {"roles": roles, "names": names, "reference": reference}
    json.dump(commands[sys.argv[1]](json.load(sys.stdin)), sys.stdout)
