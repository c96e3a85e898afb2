"""Roles that are enforced, for emulator.py.

A job gets credentials of its role, if IAM has the role. What it asks of S3 and Secrets Manager with them has to be allowed by the policies of
the role. Other services, signatures, and calls with other credentials are not checked.
"""
import re
from urllib.parse import unquote

from moto.core.exceptions import AccessDeniedError
from moto.core.authorization import ActionAuthenticatorMixin
from moto.iam import policy_conditions
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.iam.models import iam_backends
from moto.s3.exceptions import S3AccessDeniedError
from moto.secretsmanager.models import secretsmanager_backends
from moto.sts.models import sts_backends

def like(patterns, value):
    patterns = [patterns] if isinstance(patterns, str) else patterns
    return any(re.fullmatch(".*".join(map(re.escape, p.split("*"))), value) for p in patterns)


def credentials(arn, account, region):
    """The variables with which a container has the rights of a role."""
    name = arn.split("/")[-1]
    if not any(r.name == name for r in iam_backends[account]["aws"].roles.values()):
        return {"AWS_ACCESS_KEY_ID": "job", "AWS_SECRET_ACCESS_KEY": "job"}
    a = sts_backends[account]["aws"].assume_role(region, "job", arn, "", 3600, "")
    return {"AWS_ACCESS_KEY_ID": a.access_key_id, "AWS_SECRET_ACCESS_KEY": a.secret_access_key, "AWS_SESSION_TOKEN": a.session_token}


def allowed(self, right, resource, **context):
    """Whether who asks may do it. Only roles are asked about."""
    who = re.search(r"Credential=([^/]+)/", self.headers.get("Authorization", ""))
    account = self.current_account
    role = who and sts_backends[account]["aws"].get_assumed_role_from_access_key(who.group(1))
    if not role:
        return True
    iam, name = iam_backends[account]["aws"], role.role_arn.split("/")[-1]
    return any(
        IAMPolicy(iam.get_role_policy(name, policy)[1]).is_action_permitted(right, resource, None, context) == PermissionResult.PERMITTED
        for policy in iam.list_role_policies(name)
    )


def authorize_s3(self, bucket_name=None, key_name=None):
    right = "s3:" + {"HeadBucket": "ListBucket"}.get(self.data["Action"], self.data["Action"])
    resource = "arn:aws:s3:::" + (bucket_name or "") + (f"/{unquote(key_name)}" if key_name else "")
    if not allowed(self, right, resource, **{"s3:prefix": self.querystring.get("prefix", [""])[0]}):
        raise S3AccessDeniedError


def authorize(self, resource="*"):
    if self.service_name != "secretsmanager":
        return
    asked = self._get_param("SecretId") or "*"
    secret = secretsmanager_backends[self.current_account][self.region].secrets.get(asked)  # by its name or its ARN
    if not allowed(self, "secretsmanager:" + self._get_action(), secret.arn if secret else asked):
        raise AccessDeniedError(user_arn="its role", action=self._get_action())


def control(asked):
    """Makes roles, or replaces their policies: {"roles": {NAME: POLICY}}."""
    iam = iam_backends[asked["account"]]["aws"]
    for name, policy in asked.get("roles", {}).items():
        if not any(r.name == name for r in iam.roles.values()):
            iam.create_role(name, "{}", "/", None, "", [], 3600)
        iam.put_role_policy(name, "unit", policy)


def install():
    policy_conditions.CONDITION_OPERATIONS["StringLike"] = like
    ActionAuthenticatorMixin._authenticate_and_authorize_s3_action = authorize_s3
    ActionAuthenticatorMixin._authenticate_and_authorize_normal_action = authorize
