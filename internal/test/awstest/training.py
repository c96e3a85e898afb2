"""Training jobs of SageMaker that run, and quotas, for emulator.py.

Kept of the contract: the entry point and the arguments of the container; the failure file; SIGTERM and, a second later, SIGKILL on stop;
the time limit; an empty model in S3; output in CloudWatch; a name that exists is refused, and one that was deleted is free after a while; the
quota of the type of instance; an instance that stays for the next job of its role; spare capacity that is taken back, after which the container starts again. A job that SageMaker
refuses or ends because of a refusal of the control port has its reason. FOLDER/training/NAME has a line for each time that a job was
created, and while it exists, NAME.system has the system in its tags.
"""
import hashlib, itertools, json, shutil, signal, threading, time

import moto.sagemaker.models as models
import moto.sagemaker.responses as responses
from moto.core.exceptions import ServiceException
from moto.core.utils import utcnow
from moto.s3.models import s3_backends
from moto.servicequotas.responses import ServiceQuotasResponse

DELETION = 0.3  # seconds until the name of a job that was deleted is free
GROUP = "/aws/sagemaker/TrainingJobs"
quotas = {}  # service -> name -> value
numbers = itertools.count()  # of jobs, whose names may come again
host = None  # emulator.py


class Refused(ServiceException):
    """What SageMaker says to a call: a code and a message."""


def step(job, status, secondary, message=""):
    now = utcnow()
    if job.secondary_status_transitions:
        job.secondary_status_transitions[-1]["EndTime"] = now
    job.secondary_status_transitions.append({"Status": secondary, "StartTime": now, "StatusMessage": message})
    job.training_job_status, job.secondary_status, job.last_modified_time = status, secondary, now


def container(job, account, region, attempt):
    """Runs the container of a job once, and returns its exit code and what it left as its failure."""
    spec = job.algorithm_specification
    root, config = host.pull(spec["TrainingImage"])
    id = f"{job.training_job_name}.{job.number}.{attempt}"
    work, ml = host.FOLDER / "jobs" / id, host.FOLDER / "ml" / id
    work.mkdir(parents=True)
    for d in ("output", "model", "checkpoints", "input/config"):
        (ml / d).mkdir(parents=True)
    env = dict(kv.split("=", 1) for kv in config.get("Env") or [])
    env |= {"TRAINING_JOB_NAME": job.training_job_name, "AWS_REGION": region, "TENON_TEST_JOB": id} | host.credentials(job.role_arn, account, region)
    p = host.start(root, work, spec["ContainerEntrypoint"] + (spec.get("ContainerArguments") or []), env, config.get("WorkingDir"), ml)
    log = host.copy_log(account, region, GROUP, f"{job.training_job_name}/algo-1-{int(time.time() * 1000)}", p.stdout, make=True)
    job.training_start_time = job.training_start_time or utcnow()
    step(job, job.training_job_status, "Stopping" if job.stop else "Training")
    limit, began, asked = (job.stopping_condition or {})["MaxRuntimeInSeconds"], time.time(), None
    while p.poll() is None:
        if (job.stop or job.interrupt or time.time() - began > limit) and asked is None:
            asked = time.time()
            host.kill(p, signal.SIGTERM)
        elif asked and time.time() - asked > host.GRACE:
            host.kill(p, signal.SIGKILL)
        time.sleep(0.02)
    log.join()
    failure = ml / "output/failure"
    said = failure.read_text()[:1024] if failure.exists() else ""
    shutil.rmtree(ml)
    return (p.returncode if p.returncode >= 0 else 128 - p.returncode), said, time.time() - began > limit


def train(job, account, region):
    try:
        if host.refusals:
            raise ValueError(host.refusals.pop(0))
        step(job, "InProgress", "Downloading")
        for attempt in range(10):
            if job.stop:
                break
            code, said, late = container(job, account, region, attempt)
            if not job.interrupt or job.stop:
                break
            job.interrupt = False
            step(job, "InProgress", "Interrupted")
        job.training_end_time = utcnow()
        if job.stop:
            return step(job, "Stopped", "Stopped")
        if late:
            return step(job, "Stopped", "MaxRuntimeExceeded")
        if code:
            job.failure_reason = f"AlgorithmError: {said}, exit code: {code}"
            return step(job, "Failed", "Failed", job.failure_reason)
        step(job, "InProgress", "Uploading")
        bucket, _, key = job.model_artifacts["S3ModelArtifacts"].removeprefix("s3://").partition("/")
        s3_backends[account]["aws"].put_object(bucket, key, b"")
        if job.resource_config.get("KeepAlivePeriodInSeconds"):
            job.warm_pool_status = {"Status": "Available"}
            with open(host.FOLDER / "training" / f"{job.training_job_name}.warm", "a") as f:
                f.write("warm\n")
        step(job, "Completed", "Completed")
    except host.NoImage as e:
        job.failure_reason = f"ClientError: ECR image {e} not found"
        step(job, "Failed", "Failed", job.failure_reason)
    except Exception as e:
        job.failure_reason = str(e)
        step(job, "Failed", "Failed", job.failure_reason)


def create_training_job(self, **k):
    name, kind, spot = k["training_job_name"], k["resource_config"]["InstanceType"], k["enable_managed_spot_training"]
    if name in self.training_jobs:
        raise Refused("ResourceInUse", f"Training job names must be unique within an AWS account and region, and a training job with this name already exists ({name})")
    limit_name = f"{kind} for {'spot ' if spot else ''}training job usage"
    limit = quotas.get("sagemaker", {}).get(limit_name, 1000)
    used = sum(j.training_job_status in ("InProgress", "Stopping") and j.resource_config["InstanceType"] == kind and j.enable_managed_spot_training == spot for j in self.training_jobs.values())
    if used >= limit:
        raise Refused("ResourceLimitExceeded", f"The account-level service limit '{limit_name}' is {limit} Instances, with current utilization of {used} Instances and a request delta of 1 Instances.")
    job = models.FakeTrainingJob(self.account_id, self.region_name, **k)
    job.stop = job.interrupt = False
    job.warm_pool_status = None
    if k["resource_config"].get("KeepAlivePeriodInSeconds") and spot:
        raise Refused("ValidationException", "KeepAlivePeriodInSeconds is not supported with managed spot training.")
    for other in self.training_jobs.values():
        if getattr(other, "warm_pool_status", None) == {"Status": "Available"} and other.role_arn == job.role_arn and all(other.resource_config[x] == job.resource_config[x] for x in ("InstanceCount", "InstanceType", "VolumeSizeInGB")):
            other.warm_pool_status = {"Status": "Reused", "ReusedByJob": name}
            break
    job.number = next(numbers)
    job.secondary_status_transitions, job.final_metric_data_list = [], []
    job.training_start_time = job.training_end_time = job.failure_reason = None
    job.algorithm_specification.pop("MetricDefinitions", None)
    step(job, "InProgress", "Starting", "Preparing the instances for training")
    self.training_jobs[name] = job
    (host.FOLDER / "training").mkdir(exist_ok=True)
    with open(host.FOLDER / "training" / name, "a") as f:
        f.write("created\n")
    tags = {t["Key"]: t["Value"] for t in k["tags"]}
    (host.FOLDER / "training" / f"{name}.system").write_text(tags["tenon:system"])
    threading.Thread(target=train, args=(job, self.account_id, self.region_name), daemon=True).start()
    return job


def described(self):
    r = {k: v for k, v in self.gen_response_object().items() if v not in (None, [None]) and k not in ("Stop", "Interrupt", "Number")}
    r["TrainingJobArn"] = r.pop("Arn")
    return r


def found(self):
    name = json.loads(self.body)["TrainingJobName"]
    jobs = self.sagemaker_backend.training_jobs
    if name not in jobs:
        raise Refused("ValidationException", "Requested resource not found.")
    return jobs, jobs[name]


old_describe = responses.SageMakerResponse.describe_training_job


def describe_training_job(self):
    found(self)
    return old_describe(self)


def stop_training_job(self):
    _, job = found(self)
    if job.training_job_status != "InProgress":
        raise Refused("ValidationException", f"The request was rejected because the training job is in status {job.training_job_status}.")
    job.stop = True
    step(job, "Stopping", "Stopping")
    return 200, {}, ""


def delete_training_job(self):
    jobs, job = found(self)
    if job.training_job_status in ("InProgress", "Stopping", "Deleting"):
        raise Refused("ValidationException", f"The training job is in status {job.training_job_status}.")
    if job.warm_pool_status == {"Status": "Available"}:
        raise Refused("ValidationException", "The training job retains an Available managed warm pool.")
    step(job, "Deleting", "Deleting")
    threading.Timer(DELETION, jobs.pop, (job.training_job_name,)).start()
    (host.FOLDER / "training" / f"{job.training_job_name}.system").unlink()
    return 200, {}, ""


old_tag = responses.SageMakerResponse.add_tags


def add_tags(self):
    asked = json.loads(self.body)
    if any(t["Key"] == "tenon:forgotten" for t in asked["Tags"]):
        (host.FOLDER / "training" / f"{asked['ResourceArn'].split('/')[-1]}.system").unlink(missing_ok=True)
    return old_tag(self)


def list_service_quotas(self):
    service = json.loads(self.body)["ServiceCode"]
    return json.dumps({"Quotas": [
        {"ServiceCode": service, "QuotaName": name, "QuotaCode": "L-" + hashlib.sha256(name.encode()).hexdigest()[:8].upper(), "Value": float(value)}
        for name, value in quotas.get(service, {}).items()
    ]})


def control(asked):
    for service, values in asked.get("quotas", {}).items():
        quotas.setdefault(service, {}).update(values)
    for name in asked.get("interrupt", []):
        models.sagemaker_backends[asked["account"]][asked["region"]].training_jobs[name].interrupt = True


def install(emulator):
    global host
    host = emulator
    models.SageMakerModelBackend.create_training_job = create_training_job
    models.FakeTrainingJob.response_object = property(described)
    for f in (add_tags, describe_training_job, stop_training_job, delete_training_job):
        setattr(responses.SageMakerResponse, f.__name__, f)
    ServiceQuotasResponse.list_service_quotas = list_service_quotas
