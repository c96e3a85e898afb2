"""Schedules of EventBridge, for emulator.py.

A rule does not fire by itself: a test says when. It then submits its job to AWS Batch as EventBridge does: the highest active revision
of the definition that its target names, with the rights of the role of the target. {"rules": {NAME: {"queue", "definition", "job",
"role"}}} makes rules, whose queue is an ARN, and {"fire": [NAME...]} fires them.
"""
from moto.batch.models import batch_backends
from moto.batch_simple.models import batch_simple_backends
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.iam.models import iam_backends

rules = {}


def fire(name, account, region):
    rule, batch = rules[name], batch_backends[account][region]
    active = [d for d in batch._job_definitions.values() if d.name == rule["definition"] and d.status == "ACTIVE"]
    if not active:
        return  # EventBridge counts a failed invocation, and reports nothing
    iam, prefix = iam_backends[account]["aws"], f"arn:aws:batch:{region}:{account}:"
    policies = [IAMPolicy(iam.get_role_policy(rule["role"], p)[1]) for p in iam.list_role_policies(rule["role"])]
    for resource in prefix + "job-definition/" + rule["definition"], rule["queue"]:
        if not any(p.is_action_permitted("batch:SubmitJob", resource) == PermissionResult.PERMITTED for p in policies):
            raise PermissionError(f"{rule['role']} may not submit to {resource}")
    newest = max(active, key=lambda d: d.revision)
    batch_simple_backends[account][region].submit_job(rule["job"], newest.arn, rule["queue"].split("/")[-1], {}, tags={})


def control(asked):
    rules.update(asked.get("rules", {}))
    for name in asked.get("fire", []):
        fire(name, asked["account"], asked["region"])
