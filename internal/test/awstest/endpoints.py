"""Endpoints of SageMaker that answer, for emulator.py.

Kept of the contract: the container of each variant is that of its model, started as `docker run IMAGE serve` with the variables of the
model; GET /ping until it answers 200, for as long as the configuration says or {"endpoints": {"startup": SECONDS}} of the control
port; POST /invocations, divided by the weights of the variants, with what a container refuses as a ModelError; an update swaps
the containers once the new ones are ready, and otherwise the endpoint stays as it is, with a reason; a container that ends
after that is started again; an endpoint that failed can only be removed; a change of an endpoint that is being
changed is refused, and so is a name that exists; SIGTERM and, a second later, SIGKILL at the end; output in CloudWatch, and
the metrics of invocations; the quota of the type of instance, which both sets of an update use. Stricter than AWS: what an endpoint uses cannot be removed.
A container listens where SAGEMAKER_BIND_TO_PORT says, because all share the network of the machine. The time of an instance passes in
{"endpoints": {"instances": SECONDS}}. FOLDER/endpoints/NAME has a line for each time that something of that name was created, and
FOLDER/hosted/KIND.NAME the system in its tags while it exists.
"""
import json, random, re, signal, socket, threading, time, urllib.error, urllib.request, uuid

import moto.sagemaker.models as models
import moto.sagemaker.responses as responses
import moto.sagemakerruntime.responses as runtime
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.responses import ActionResult
from moto.core.utils import utcnow

settings = {"startup": 60, "instances": 0.1}
DELETION = 0.2  # seconds until an endpoint is gone
lock = threading.RLock()
live = {}  # endpoint -> variant -> Container
host = training = None  # emulator.py and training.py


def invalid(text):
    return training.Refused("ValidationException", text)


def note(kind, name, tags):
    for folder, mode, text in ("endpoints", "a", "created\n"), ("hosted", "w", {t["Key"]: t["Value"] for t in tags or []}.get("tenon:system", "")):
        (host.FOLDER / folder).mkdir(exist_ok=True)
        with open(host.FOLDER / folder / (name if folder == "endpoints" else f"{kind}.{name}"), mode) as f:
            f.write(text)


def gone(kind, name):
    (host.FOLDER / "hosted" / f"{kind}.{name}").unlink(missing_ok=True)


class Container:
    def __init__(self, backend, name, variant):
        self.variant, self.weight, self.answered = variant["VariantName"], variant["InitialVariantWeight"], 0
        model = backend._models[variant["ModelName"]]
        c = model.primary_container
        root, config = host.pull(c["Image"])
        id = f"{variant['ModelName']}.{uuid.uuid4().hex[:6]}"
        work = host.FOLDER / "jobs" / id
        work.mkdir(parents=True)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        env = dict(kv.split("=", 1) for kv in config.get("Env") or []) | (c.get("Environment") or {})
        env |= {"SAGEMAKER_BIND_TO_PORT": str(self.port), "AWS_REGION": backend.region_name, "TENON_TEST_ENDPOINT": name}
        env |= host.credentials(model.execution_role_arn, backend.account_id, backend.region_name)
        started, stream = threading.Event(), f"{self.variant}/i-{uuid.uuid4().hex[:8]}"
        self.serving, self.instance, self.count = False, variant["InstanceType"], variant["InitialInstanceCount"]

        def run():  # it ends with the thread that starts it
            again = True
            while again:
                self.process = host.start(root, work, (config.get("Entrypoint") or []) + ["serve"], env, config.get("WorkingDir"))
                host.copy_log(backend.account_id, backend.region_name, f"/aws/sagemaker/Endpoints/{name}", stream, self.process.stdout)
                started.set()
                self.process.wait()
                again = self.serving

        threading.Thread(target=run, daemon=True).start()
        started.wait()

    def ready(self, seconds):
        end = time.time() + seconds
        while time.time() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=2) as r:
                    if r.status == 200:
                        self.serving = True
                        return True
            except OSError:
                time.sleep(0.05)
        return False

    def end(self):
        self.serving = False
        host.kill(self.process, signal.SIGTERM)
        end = time.time() + host.GRACE
        while self.process.poll() is None and time.time() < end:
            time.sleep(0.02)
        host.kill(self.process, signal.SIGKILL)
        self.process.wait()


def end(containers):
    for c in containers:
        c.end()


def deploy(backend, ep, config):
    """Moves an endpoint to a configuration."""
    new, why = [], ""
    time.sleep(settings["instances"])
    try:
        if host.refusals:
            raise ValueError(host.refusals.pop(0))
        for v in config.production_variants:
            new.append(Container(backend, ep.endpoint_name, v))
        for v, c in zip(config.production_variants, new):
            if not c.ready(min(v.get("ContainerStartupHealthCheckTimeoutInSeconds", 60), settings["startup"])):
                raise ValueError(f"The primary container for production variant {c.variant} did not pass the ping health check. Please check CloudWatch logs for this endpoint.")
    except host.NoImage as e:
        why = f"The image '{e}' does not exist."
    except Exception as e:
        why = str(e) or type(e).__name__
    with lock:
        ep.failure_reason, ep.pending, ep.last_modified_time = why, None, utcnow()
        if why:
            old = new
        else:
            old, live[ep.endpoint_name] = list(live.get(ep.endpoint_name, {}).values()), {c.variant: c for c in new}
            ep.endpoint_config_name = config.endpoint_config_name
        ep.endpoint_status = "Failed" if why and ep.endpoint_status == "Creating" else "InService"
    end(old)


def begin(backend, ep, config, status):
    for kind in {v["InstanceType"] for v in config.production_variants}:
        name = f"{kind} for endpoint usage"
        limit = training.quotas.get("sagemaker", {}).get(name, 1000)
        wanted = sum(v["InitialInstanceCount"] for v in config.production_variants if v["InstanceType"] == kind)
        used = sum(c.count for variants in live.values() for c in variants.values() if c.instance == kind)
        if used + wanted > limit:
            raise training.Refused("ResourceLimitExceeded", f"The account-level service limit '{name}' is {limit} Instances, with current utilization of {used} Instances and a request delta of {wanted} Instances.")
    ep.endpoint_status, ep.pending, ep.failure_reason = status, config.endpoint_config_name, ""
    threading.Thread(target=deploy, args=(backend, ep, config), daemon=True).start()


def found(table, name, what):
    if name not in table:
        raise invalid(f'Could not find {what} "arn:aws:sagemaker:::{name}".')
    return table[name]


def settled(ep, removed=False):
    if ep.endpoint_status == "Failed" and not removed:
        raise invalid(f'Cannot update failed endpoint "{ep.arn}".')
    if ep.endpoint_status not in ("InService", "Failed"):
        raise invalid(f'Cannot update in-progress endpoint "{ep.arn}".')
    return ep


old_endpoint, old_config, old_model = models.SageMakerModelBackend.create_endpoint, models.SageMakerModelBackend.create_endpoint_config, models.SageMakerModelBackend.create_model


def create_endpoint(self, endpoint_name, endpoint_config_name, tags):
    with lock:
        if endpoint_name in self.endpoints:
            raise invalid(f'Cannot create already existing endpoint "{endpoint_name}".')
        config = found(self.endpoint_configs, endpoint_config_name, "endpoint configuration")
        ep = old_endpoint(self, endpoint_name, endpoint_config_name, tags)
        try:
            begin(self, ep, config, "Creating")
        except Exception:
            del self.endpoints[endpoint_name]
            raise
        note("endpoint", endpoint_name, tags)
        return ep


def create_endpoint_config(self, endpoint_config_name, **k):
    with lock:
        if endpoint_config_name in self.endpoint_configs:
            raise invalid(f'Cannot create already existing endpoint configuration "{endpoint_config_name}".')
        for v in k["production_variants"]:
            found(self._models, v["ModelName"], "model")
        note("config", endpoint_config_name, k["tags"])
        return old_config(self, endpoint_config_name, **k)


def create_model(self, model_name, **k):
    with lock:
        if model_name in self._models:
            raise invalid(f'Cannot create already existing model "{model_name}".')
        note("model", model_name, k["tags"])
        return old_model(self, model_name, **k)


def used(backend):
    """The configurations that endpoints have, or move to."""
    return {name for ep in backend.endpoints.values() for name in (ep.endpoint_config_name, ep.pending) if name and ep.endpoint_status != "Failed"}


def asked(self):
    return self.sagemaker_backend, json.loads(self.body)


def update_endpoint(self):
    backend, given = asked(self)
    with lock:
        ep = settled(found(backend.endpoints, given["EndpointName"], "endpoint"))
        config = found(backend.endpoint_configs, given["EndpointConfigName"], "endpoint configuration")
        if config.endpoint_config_name == ep.endpoint_config_name:
            raise invalid("Cannot update an endpoint to the configuration that it has.")
        begin(backend, ep, config, "Updating")
        return ActionResult({"EndpointArn": ep.arn})


def update_endpoint_weights_and_capacities(self):
    backend, given = asked(self)
    with lock:
        ep = settled(found(backend.endpoints, given["EndpointName"], "endpoint"))
        ep.endpoint_status = "Updating"

    def go():
        time.sleep(settings["instances"])
        with lock:
            for w in given["DesiredWeightsAndCapacities"]:
                live[ep.endpoint_name][w["VariantName"]].weight = w["DesiredWeight"]
            ep.endpoint_status, ep.last_modified_time = "InService", utcnow()

    threading.Thread(target=go, daemon=True).start()
    return ActionResult({"EndpointArn": ep.arn})


def delete_endpoint(self):
    backend, given = asked(self)
    with lock:
        ep = settled(found(backend.endpoints, given["EndpointName"], "endpoint"), removed=True)
        ep.endpoint_status = "Deleting"

    def go():
        time.sleep(DELETION)
        with lock:
            containers = list(live.pop(ep.endpoint_name, {}).values())
            del backend.endpoints[ep.endpoint_name]
            gone("endpoint", ep.endpoint_name)
        end(containers)

    threading.Thread(target=go, daemon=True).start()
    return ActionResult({})


def delete_endpoint_config(self):
    backend, given = asked(self)
    name = given["EndpointConfigName"]
    with lock:
        found(backend.endpoint_configs, name, "endpoint configuration")
        if name in used(backend):
            raise invalid(f'Cannot delete the endpoint configuration "{name}", which an endpoint uses.')
        del backend.endpoint_configs[name]
        gone("config", name)
        return ActionResult({})


def delete_model(self):
    backend, given = asked(self)
    name = given["ModelName"]
    with lock:
        found(backend._models, name, "model")
        if any(v["ModelName"] == name for c in used(backend) for v in backend.endpoint_configs[c].production_variants):
            raise invalid(f'Cannot delete the model "{name}", which an endpoint uses.')
        del backend._models[name]
        gone("model", name)
        return ActionResult({})


def describe_endpoint(self):
    backend, given = asked(self)
    with lock:
        ep = found(backend.endpoints, given["EndpointName"], "endpoint")
        r = {
            "EndpointName": ep.endpoint_name, "EndpointArn": ep.arn, "EndpointConfigName": ep.endpoint_config_name, "EndpointStatus": ep.endpoint_status,
            "CreationTime": ep.creation_time, "LastModifiedTime": ep.last_modified_time,
            "ProductionVariants": [{"VariantName": c.variant, "CurrentWeight": c.weight, "DesiredWeight": c.weight} for c in live.get(ep.endpoint_name, {}).values()],
        }
        if ep.failure_reason:
            r["FailureReason"] = ep.failure_reason
        if ep.pending:
            r["PendingDeploymentSummary"] = {"EndpointConfigName": ep.pending}
        return ActionResult(r)


def list_models(self):
    backend, given = asked(self)
    return ActionResult({"Models": [
        {"ModelName": m.model_name, "ModelArn": m.arn, "CreationTime": m.creation_time} for m in backend._models.values() if given.get("NameContains", "") in m.model_name
    ]})


def invoke_endpoint(self):
    name = re.match("/endpoints/([^/]+)/", self.path).group(1)
    with lock:
        all = list(live.get(name, {}).values())
    if not all:
        return 400, {"status": 400, "x-amzn-errortype": "ValidationError"}, json.dumps({"message": f"Endpoint {name} of account {self.current_account} not found."})
    wanted = self.headers.get("X-Amzn-SageMaker-Target-Variant")
    c = next((c for c in all if c.variant == wanted), None) or random.choices(all, [c.weight for c in all])[0]
    body = self.body.encode() if isinstance(self.body, str) else self.body
    ask = urllib.request.Request(f"http://127.0.0.1:{c.port}/invocations", data=body, headers={k: self.headers[k] for k in ("Content-Type", "Accept") if self.headers.get(k)})
    began, status = time.time(), 0
    try:
        with urllib.request.urlopen(ask, timeout=60) as r:
            status, kind, said = r.status, r.headers.get("Content-Type", "application/octet-stream"), r.read()
    except urllib.error.HTTPError as e:
        status, kind, said = e.code, "application/json", e.read()
    except OSError as e:
        status, kind, said = 500, "application/json", str(e).encode()
    measure(self, name, c.variant, status, time.time() - began)
    of = {"x-Amzn-Invoked-Production-Variant": c.variant}
    if status == 200:
        return 200, of | {"Content-Type": kind}, said
    text = said.decode("utf-8", "replace")
    return 424, of | {"status": 424, "Content-Type": "application/json", "x-amzn-errortype": "ModelError"}, json.dumps({
        "ErrorCode": "CLIENT_ERROR_FROM_MODEL" if status < 500 else "SERVER_ERROR_FROM_MODEL", "OriginalStatusCode": status, "OriginalMessage": text,
        "Message": f"Received {'client' if status < 500 else 'server'} error ({status}) from primary with message \"{text}\"."})


def measure(self, name, variant, status, took):
    """The metrics of an invocation, as SageMaker has them: latency in microseconds."""
    by = [{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": variant}]
    cloudwatch_backends[self.current_account][self.region].put_metric_data("AWS/SageMaker", [
        {"MetricName": m, "Value": v, "Dimensions": by, "Timestamp": utcnow().isoformat()}
        for m, v in {"Invocations": 1, "Invocation4XXErrors": int(400 <= status < 500), "Invocation5XXErrors": int(status >= 500), "ModelLatency": took * 1e6}.items()
    ])


def install(emulator, jobs):
    global host, training
    host, training = emulator, jobs
    for f in (create_endpoint, create_endpoint_config, create_model):
        setattr(models.SageMakerModelBackend, f.__name__, f)
    for f in (update_endpoint, update_endpoint_weights_and_capacities, delete_endpoint, delete_endpoint_config, delete_model, describe_endpoint, list_models):
        setattr(responses.SageMakerResponse, f.__name__, f)
    runtime.SageMakerRuntimeResponse.invoke_endpoint = invoke_endpoint
