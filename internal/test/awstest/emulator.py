#!/usr/bin/env python3
"""An emulator of AWS whose Batch jobs run: moto's server, with containers of its own.

usage: emulator.py PORT FOLDER REGISTRY      (root, for namespaces; see moto.in)

moto records calls and answers them. What it does not do is done here: a job is a process in namespaces of its own, with the
file system of its image, which is fetched from the registry at REGISTRY (HOST:PORT) whatever registry it names. Kept of the
contract of Batch on Fargate (training.py does the same for SageMaker): the entry point of the image gets the command; secrets of Secrets Manager as variables; output in
CloudWatch, a line an event; SIGTERM and, a second later, SIGKILL on termination; the timeout of an attempt; exit codes. The
first process has pid 1. Jobs share the network of the machine, and have all of its memory and cores. Roles that exist
are enforced, see roles.py; others are names.

AWS Lambda is in functions.py, at PORT+2, schedules of EventBridge are in events.py, Amazon ECS in ecs.py, at PORT+3, and endpoints of SageMaker are in endpoints.py.

FOLDER/jobs/ID has the work folder of a job, and FOLDER/jobs/ID.name its name. A POST to PORT+1 controls what no call of AWS does:
{"queues": [NAME...]} makes queues, {"refuse": [TEXT...]} makes the next start of a container fail with a reason,
{"quotas": {SERVICE: {NAME: VALUE}}} sets quotas, {"roles": {NAME: POLICY}} makes roles, and {"interrupt": [NAME...]} takes the spare capacity of training jobs back.
"""
import gc, hashlib, http.server, io, json, os, pathlib, signal, subprocess, sys, tarfile, threading, time, urllib.request

import zstandard
import moto.batch.models as batch
import moto.batch_simple.models as simple
import moto.s3.models as s3
from moto.batch.models import batch_backends
from moto.core.config import default_user_config
from moto.core.utils import utcnow
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.logs.models import logs_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.server import main

import ecs, endpoints, events, functions, roles, training
from roles import credentials

gc.freeze()  # botocore's models are many objects, and none of them is ever garbage

ACCOUNT, REGION = os.environ["MOTO_ACCOUNT_ID"], os.environ["AWS_REGION"]
PORT, FOLDER, REGISTRY = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
GRACE = 1.0  # seconds from SIGTERM to SIGKILL; AWS gives 30
ACCEPT = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
pulling = threading.Lock()
refusals = []


class NoImage(Exception):
    """The registry does not have an image."""


def registry(name, kind, digest):
    r = urllib.request.Request(f"http://{REGISTRY}/v2/{name}/{kind}/{digest}", headers={"Accept": ACCEPT})
    with urllib.request.urlopen(r, timeout=60) as f:
        b = f.read()
    if digest.startswith("sha256:") and hashlib.sha256(b).hexdigest() != digest[7:]:
        raise ValueError(f"{digest} has other content")
    return b


def pull(image):
    """The folder with the file system of an image, and its configuration."""
    path, _, digest = image.partition("@")
    name = path.split("/", 1)[1]
    root = FOLDER / "images" / hashlib.sha256(image.encode()).hexdigest()
    with pulling:
        try:
            manifest = json.loads(registry(name, "manifests", digest))
        except urllib.error.HTTPError as e:
            raise NoImage(f"{image}: not found" if e.code == 404 else f"{image}: {e}")
        config = json.loads(registry(name, "blobs", manifest["config"]["digest"]))["config"]
        if not root.exists():
            new = root.with_suffix(".new")
            for layer in manifest["layers"]:
                unpack(registry(name, "blobs", layer["digest"]), layer["mediaType"], new)
            for d in ("proc", "dev", "tmp", "etc", "tenon/work", "opt/ml"):
                (new / d).mkdir(parents=True, exist_ok=True)
            new.rename(root)
    return root, config


def unpack(b, media, to):
    if media.endswith("zstd"):
        b = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(b)).read()
    with tarfile.open(fileobj=io.BytesIO(b), mode="r:*") as t:
        for m in t:
            at = to / m.name
            if at.name.startswith(".wh."):
                subprocess.run(["rm", "-rf", str(at.parent / at.name[4:])], check=True)
            else:
                t.extract(m, to, filter="tar")


# A container: mounts that no other process sees, and processes that end with the first. Its image may have neither chroot
# nor a shell.
MOUNTS = """set -e
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
mount -t tmpfs tmpfs "$ROOT/tmp"
mount --bind "$WORK" "$ROOT/tenon/work"
if [ -n "$ML" ]; then mount --bind "$ML" "$ROOT/opt/ml"; fi
exec "$@"
"""
INSIDE = "import os, sys, json; a = json.loads(sys.argv[1]); os.chroot(a['root']); os.chdir(a['at']); os.execvpe(a['argv'][0], a['argv'], a['env'])"


def start(root, work, argv, env, at, ml=""):
    spin = {k: os.environ[k] for k in ["GOMP_SPINCOUNT"] if k in os.environ}  # this machine is busier than one of AWS
    inside = json.dumps({"root": str(root), "argv": argv, "env": spin | env, "at": at or "/"})
    return subprocess.Popen(  # it ends with the thread that starts it, and so with the emulator
        ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", MOUNTS, "job", sys.executable, "-S", "-c", INSIDE, inside],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        env={"PATH": os.environ["PATH"], "ROOT": str(root), "WORK": str(work), "ML": str(ml)})


def first(p):
    """The pid of the first process of a container, outside of it."""
    for c in pathlib.Path(f"/proc/{p.pid}/task/{p.pid}/children").read_text().split():
        return int(c)
    raise ProcessLookupError


def kill(p, sig):
    try:
        os.kill(first(p), sig)
    except (ProcessLookupError, FileNotFoundError):
        pass


def copy_log(account, region, group, stream, out, make=False):
    """Puts lines into CloudWatch as they come, and the last one without a line break at the end."""
    logs = logs_backends[account][region]
    if group not in logs.groups and make:
        logs.create_log_group(group, {})
    if group not in logs.groups:
        raise ValueError(f"ResourceInitializationError: failed to validate logger args: The specified log group does not exist: {group}")
    if stream not in logs.groups[group].streams:
        logs.create_log_stream(group, stream)

    def put(lines):
        now = int(time.time() * 1000)
        events = [{"timestamp": now, "message": l.decode("utf-8", "replace")} for l in lines]
        for i in range(0, len(events), 1000):
            logs.put_log_events(group, stream, events[i : i + 1000])

    def go():
        rest = b""
        while b := out.read1(1 << 20):
            *lines, rest = (rest + b).split(b"\n")
            put(lines)
        if rest:
            put([rest])

    t = threading.Thread(target=go, daemon=True)
    t.start()
    return t


def secrets(account, region, list):
    env = {}
    for s in list or []:
        at = s["valueFrom"]
        try:
            env[s["name"]] = secretsmanager_backends[account][region].get_secret_value(at, "", "AWSCURRENT")["SecretString"]
        except Exception as e:
            raise ValueError(f"ResourceInitializationError: unable to pull secrets or registry auth: {type(e).__name__}: {at}")
    return env


def attempt(job, account, region):
    d, over = job.job_definition, job.container_overrides or {}
    props = d.container_properties
    job.status = "STARTING"
    if refusals:
        raise ValueError(refusals.pop(0))
    try:
        root, config = pull(props["image"])
    except NoImage as e:
        raise ValueError(f"CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {e}")
    env = dict(kv.split("=", 1) for kv in config.get("Env") or [])
    env |= {e["name"]: e["value"] for e in (props.get("environment") or []) + (over.get("environment") or [])}
    env |= secrets(account, region, props.get("secrets"))
    env |= {"AWS_BATCH_JOB_ID": job.job_id, "AWS_REGION": region} | credentials(props["jobRoleArn"], account, region)
    work = FOLDER / "jobs" / job.job_id
    work.mkdir(parents=True)
    options = props["logConfiguration"]["options"]
    stream = f"{options['awslogs-stream-prefix']}/default/{job.job_id}"
    if job.stop:
        raise ValueError(job.job_stopped_reason)
    p = start(root, work, (config.get("Entrypoint") or []) + (over.get("command") or props["command"]), env, config.get("WorkingDir"))
    log = copy_log(account, region, options["awslogs-group"], stream, p.stdout)
    job.log_stream_name, job.job_started_at, job.status = stream, utcnow(), "RUNNING"
    limit = (job.timeout or d.timeout or {}).get("attemptDurationSeconds")
    asked = None
    while p.poll() is None:
        if limit and (utcnow() - job.job_started_at).total_seconds() > limit and not job.stop:
            job.terminate("Job attempt duration exceeded timeout")
        if job.stop and asked is None:
            asked = time.time()
            kill(p, signal.SIGTERM)
        elif asked and time.time() - asked > GRACE:
            kill(p, signal.SIGKILL)
        time.sleep(0.02)
    log.join()
    job.exit_code = p.returncode if p.returncode >= 0 else 128 - p.returncode
    return "Essential container in task exited"


def run(job, account, region):
    reason, failed = "", True
    try:
        reason = attempt(job, account, region)
        failed = job.exit_code != 0
    except Exception as e:
        reason = str(e) or type(e).__name__
    if failed or job.stop:
        job.job_stopped_reason = job.job_stopped_reason or reason
    job._mark_stopped(success=not failed and not job.stop)


def submitted(self, include_start_attempt, job):
    (FOLDER / "jobs").mkdir(exist_ok=True)
    (FOLDER / "jobs" / (job.job_id + ".name")).write_text(job.job_name)
    self.backend._jobs[job.job_id] = job
    job.status = "RUNNABLE"
    threading.Thread(target=run, args=(job, self.account_id, self.region_name), daemon=True).start()


old_describe = batch.Job.describe


def describe(self):
    r = old_describe(self)
    for k in "vcpus", "memory":  # AWS has them in resourceRequirements, and as integers
        r["container"].pop(k)
    if self.exit_code is not None:
        r["container"]["exitCode"] = self.exit_code
    return r


old_create = batch.BatchBackend.create_compute_environment


def create_compute_environment(self, compute_environment_name, _type, state, compute_resources, service_role, tags=None):
    if not service_role:  # AWS makes this one by itself
        roles = [r for r in self.iam_backend.get_roles() if r.name == "AWSServiceRoleForBatch"]
        service_role = (roles[0] if roles else self.iam_backend.create_service_linked_role("batch.amazonaws.com", "", "")).arn
    return old_create(self, compute_environment_name, _type, state, compute_resources, service_role, tags)


def get_permission(self, action, resource):
    """moto ignores conditions, and so would deny all that a bucket denies without TLS."""
    kept = [s for s in json.loads(self.policy or '{"Statement": []}')["Statement"] if "Condition" not in s]
    if not kept:
        return PermissionResult.NEUTRAL
    return IAMPolicy(json.dumps({"Version": "2012-10-17", "Statement": kept})).is_action_permitted(action, resource)


s3.FakeBucket.get_permission = get_permission
s3.FakeDeleteMarker.dispose = lambda self, garbage=False: None  # moto calls it when all versions of a key are removed
batch.BatchBackend.create_compute_environment = create_compute_environment
batch.Job.describe = describe
simple.BatchSimpleBackend._mark_job_as_finished = submitted
default_user_config["batch"] = {"use_docker": False}


class Control(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        refusals.extend(asked.get("refuse", []))
        functions.settings.update(asked.get("functions", {}))
        endpoints.settings.update(asked.get("endpoints", {}))
        ecs.control(asked)
        training.control(asked)
        roles.control(asked)
        events.control(asked)
        for q in asked.get("queues") or []:
            b = batch_backends[asked["account"]][asked["region"]]
            if b.get_job_queue_by_name(q["name"]):
                continue
            env = batch.ComputeEnvironment(q["name"], "MANAGED", "ENABLED", {"type": "FARGATE", "maxvCpus": q["max_vcpus"]}, "", b.account_id, b.region_name)
            b._compute_environments[env.arn] = env
            b.create_job_queue(q["name"], 1, None, "ENABLED", [{"order": 1, "computeEnvironment": env.arn}])
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    functions.serve(sys.modules[__name__], PORT + 2)
    training.install(sys.modules[__name__])
    endpoints.install(sys.modules[__name__], training)
    ecs.serve(sys.modules[__name__], PORT + 3)
    roles.install()
    control = http.server.ThreadingHTTPServer(("127.0.0.1", PORT + 1), Control)
    threading.Thread(target=control.serve_forever, daemon=True).start()
    main(["-H", "127.0.0.1", "-p", str(PORT)])
