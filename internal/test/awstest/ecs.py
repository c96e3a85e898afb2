"""Services of Amazon ECS on Fargate whose tasks run, behind a load balancer, for emulator.py: its API is at PORT+3, with that of Application
Auto Scaling, which is recorded only.

Kept of the contract: the shapes of calls, by the models of botocore; sizes of tasks; the image, the command, secrets, roles and logs of a container; a
deployment that starts new tasks beside the old ones, sends requests to a task once its path answers 200, ends the old ones then, and gives up
after three tasks that do not get so far, back to the last one that was completed; names that exist or are being drained; SIGTERM and, a
second later, SIGKILL. A task has a network of its own, in which it reaches AWS only. {"clusters": [...]} at the control port makes a
cluster with its tags and its load balancer, which is a port that divides requests by their host; {"tasks": {"startup": SECONDS}} is how long a
task may take to become ready. A refusal of the control port stops the next task. FOLDER/endpoints and FOLDER/hosted are as for endpoints.py.
"""
import ctypes, http.client, http.server, json, os, queue, random, re, signal, socket, struct, fcntl, threading, time, uuid

import botocore.session
from botocore.validate import ParamValidator

import endpoints

SIZES = {256: [512, 1024, 2048], 512: range(1024, 4097, 1024), 1024: range(2048, 8193, 1024), 2048: range(4096, 16385, 1024), 4096: range(8192, 30721, 1024), 8192: range(16384, 61441, 4096), 16384: range(32768, 122881, 8192)}
settings = {"startup": 60}
guard = threading.RLock()
clusters, groups = {}, {}  # by name; and the paths of target groups, by ARN
definitions, services, tasks = {}, {}, {}  # families with their revisions; by cluster and name; by ARN
models, scaling = {}, {}  # of botocore, and how services follow their load, by name
host = None
libc = ctypes.CDLL(None, use_errno=True)
outside = queue.Queue()  # what has to run in the network of the machine: a thread has that of the one that starts it


class Refused(Exception):
    def __init__(self, code, message):
        self.code, self.message = code, message


def arn(kind, rest):
    return f"arn:aws:ecs:{host.REGION}:{host.ACCOUNT}:{kind}/{rest}"


def inside(fd, do):
    """What do returns in the network of a task."""
    out = queue.Queue()

    def go():
        try:
            if libc.setns(fd, 0x40000000):
                raise OSError(ctypes.get_errno(), "setns")
            out.put((do(), None))
        except Exception as e:
            out.put((None, e))

    threading.Thread(target=go, daemon=True).start()
    got, why = out.get()
    if why:
        raise why
    return got


def copy(a, b):
    try:
        while data := a.recv(1 << 16):
            b.sendall(data)
    except OSError:
        pass
    for s in (a, b):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def forward(listener):
    """Lets a task reach AWS."""
    while True:
        try:
            a, _ = listener.accept()
            b = socket.create_connection(("127.0.0.1", host.PORT))
        except OSError:
            return
        for x, y in ((a, b), (b, a)):
            threading.Thread(target=copy, args=(x, y), daemon=True).start()


class Task:
    def __init__(self, service, definition):
        self.service, self.definition, self.arn = service, definition, arn("task", f"{service.cluster}/{uuid.uuid4().hex}")
        self.reason, self.exit, self.stopped, self.healthy, self.process, self.fd = "", None, 0, False, None, None
        self.ended = threading.Event()
        tasks[self.arn] = self
        started = threading.Event()
        threading.Thread(target=self.run, args=(started,), daemon=True).start()
        started.wait()

    def run(self, started):
        try:
            self.begin()
        except host.NoImage as e:
            self.reason = f"CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {e}"
        except Exception as e:
            self.reason = str(e) or type(e).__name__
        started.set()
        if self.process:
            self.process.wait()
            self.exit = self.process.returncode if self.process.returncode >= 0 else 128 - self.process.returncode
            self.reason = self.reason or "Essential container in task exited"
            self.listener.close()
            os.close(self.fd)
        self.healthy, self.stopped = False, time.time()
        self.ended.set()

    def begin(self):
        if host.refusals:
            raise ValueError(host.refusals.pop(0))
        d = self.definition
        c = d["containerDefinitions"][0]
        root, config = host.pull(c["image"])
        env = dict(kv.split("=", 1) for kv in config.get("Env") or [])
        env |= {e["name"]: e["value"] for e in c.get("environment", [])} | host.secrets(host.ACCOUNT, host.REGION, c.get("secrets"))
        env |= {"AWS_REGION": host.REGION, "TENON_TEST_SERVICE": self.service.name} | host.credentials(d["taskRoleArn"], host.ACCOUNT, host.REGION)
        id = self.arn.rsplit("/", 1)[1]
        work = host.FOLDER / "jobs" / f"{self.service.name}.{id}"
        work.mkdir(parents=True)
        if libc.unshare(0x40000000):  # what this thread starts has its network
            raise OSError(ctypes.get_errno(), "unshare")
        with socket.socket() as s:
            fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
        self.fd = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
        self.listener = socket.create_server(("127.0.0.1", host.PORT))
        outside.put(lambda: forward(self.listener))
        self.process = host.start(root, work, (c.get("entryPoint") or config.get("Entrypoint") or []) + c["command"], env, config.get("WorkingDir"))
        o = c["logConfiguration"]["options"]
        host.copy_log(host.ACCOUNT, host.REGION, o["awslogs-group"], f"{o['awslogs-stream-prefix']}/{c['name']}/{id}", self.process.stdout)

    def connect(self):
        return inside(self.fd, lambda: socket.create_connection(("127.0.0.1", self.service.port), 5))

    def ask(self, method, path, body, headers):
        c = http.client.HTTPConnection("task", timeout=60)
        c.sock = self.connect()
        try:
            c.request(method, path, body, headers)
            r = c.getresponse()
            return r.status, r.getheaders(), r.read()
        finally:
            c.close()

    def wait(self):
        """Whether the load balancer sees it ready in time."""
        end = time.time() + min(settings["startup"], self.service.grace)
        while time.time() < end and not self.ended.is_set():
            try:
                if self.ask("GET", groups[self.service.group], None, {})[0] == 200:
                    self.healthy = True
                    return True
            except OSError:
                pass
            time.sleep(0.05)
        if not self.ended.is_set():
            self.reason = f"Task failed ELB health checks in (target-group {self.service.group})"
            self.end()
        return False

    def end(self):
        self.healthy = False
        if self.process:
            host.kill(self.process, signal.SIGTERM)
            if not self.ended.wait(host.GRACE):
                host.kill(self.process, signal.SIGKILL)
        self.ended.wait()


class Service:
    def __init__(self, given):
        self.cluster, self.name, self.status = given["cluster"], given["serviceName"], "ACTIVE"
        self.arn, self.tags, self.tasks, self.deployments, self.completed, self.definition, self.network = arn("service", f"{self.cluster}/{self.name}"), {}, [], [], None, None, None
        self.change(given)

    def change(self, given):
        if "desiredCount" in given:
            self.count = given["desiredCount"]
        if "healthCheckGracePeriodSeconds" in given:
            self.grace = given["healthCheckGracePeriodSeconds"]
        if "loadBalancers" in given:
            b = given["loadBalancers"][0]
            self.group, self.port = b["targetGroupArn"], b["containerPort"]
        forced = given.get("forceNewDeployment")
        if given.get("networkConfiguration", self.network) != self.network:
            self.network, forced = given["networkConfiguration"], True
        if "taskDefinition" in given or forced:
            self.definition = defined(given.get("taskDefinition", self.definition and self.definition["taskDefinitionArn"]))
            for d in self.deployments:
                d["status"] = "ACTIVE"
            now = {"id": uuid.uuid4().hex, "status": "PRIMARY", "taskDefinition": self.definition["taskDefinitionArn"], "rolloutState": "IN_PROGRESS", "failedTasks": 0, "createdAt": time.time()}
            self.deployments.insert(0, now)
            threading.Thread(target=self.deploy, args=(now, self.definition, forced), daemon=True).start()

    def deploy(self, d, definition, forced):
        with guard:  # what runs already goes on
            new = [t for t in self.tasks if t.healthy and t.definition is definition and not forced][: self.count]
        current = lambda: d["status"] == "PRIMARY" and self.status == "ACTIVE"
        while current() and len(new) < self.count and d["failedTasks"] < 3:
            t = Task(self, definition)
            with guard:
                self.tasks.append(t)
                new.append(t)
            if not t.wait():
                with guard:
                    self.tasks = [x for x in self.tasks if x is not t]
                    new.remove(t)
                    d["failedTasks"] += 1
        with guard:
            if current() and d["failedTasks"] < 3:
                d["rolloutState"], self.completed = "COMPLETED", definition
                old = [x for x in self.tasks if x not in new]
            elif current():
                d["rolloutState"], d["rolloutStateReason"], old = "FAILED", "ECS deployment circuit breaker: tasks failed to start.", new
                if self.completed:
                    self.change({"taskDefinition": self.completed["taskDefinitionArn"]})
            else:
                old = new
            self.tasks = [x for x in self.tasks if x not in old]
        for x in old:
            x.end()
        with guard:
            self.deployments = [x for x in self.deployments if x["status"] == "PRIMARY" or x["rolloutState"] == "IN_PROGRESS" and x is not d]

    def drain(self):
        for t in list(self.tasks):
            t.end()
        with guard:
            self.tasks, self.deployments, self.status = [], [], "INACTIVE"
            endpoints.gone("service", self.name)

    def described(self):
        return {"serviceArn": self.arn, "serviceName": self.name, "status": self.status, "taskDefinition": self.definition["taskDefinitionArn"], "desiredCount": self.count, "networkConfiguration": self.network,
                "runningCount": sum(t.process is not None and not t.ended.is_set() for t in self.tasks), "pendingCount": 0, "deployments": self.deployments, "events": [], "tags": pairs(self.tags)}


def pairs(tags):
    return [{"key": k, "value": v} for k, v in tags.items()]


def dict_of(tags):
    return {t["key"]: t["value"] for t in tags or []}


def defined(name):
    """A task definition by its ARN, or the newest one of a family."""
    family, _, revision = name.rsplit("/", 1)[-1].partition(":")
    for d in reversed(definitions.get(family, [])):
        if d["status"] == "ACTIVE" and revision in ("", str(d["revision"])):
            return d
    raise Refused("ClientException", "Unable to describe task definition.")


def live(given):
    s = services.get((given["cluster"], given["service"]))
    if not s or s.status == "INACTIVE":
        raise Refused("ServiceNotFoundException", "Service not found.")
    if s.status != "ACTIVE":
        raise Refused("ServiceNotActiveException", "Service was not ACTIVE.")
    return s


def describe_clusters(given):
    return {"clusters": [{"clusterName": n, "status": "ACTIVE", "tags": pairs(clusters[n])} for n in given["clusters"] if n in clusters], "failures": []}


def register_task_definition(given):
    if int(given["memory"]) not in SIZES.get(int(given["cpu"]), []):
        raise Refused("ClientException", f"No Fargate configuration exists for given values: {given['cpu']} CPU, {given['memory']} memory.")
    all = definitions.setdefault(given["family"], [])
    d = {k: v for k, v in given.items() if k != "tags"} | {"revision": len(all) + 1, "status": "ACTIVE", "registeredAt": time.time(), "taskDefinitionArn": arn("task-definition", f"{given['family']}:{len(all) + 1}")}
    all.append(d | {"of": dict_of(given.get("tags"))})
    endpoints.note("definition", f"{given['family']}", [{"Key": k, "Value": v} for k, v in dict_of(given.get("tags")).items()])
    return {"taskDefinition": d}


def describe_task_definition(given):
    d = defined(given["taskDefinition"])
    return {"taskDefinition": {k: v for k, v in d.items() if k != "of"}, "tags": pairs(d["of"])}


def list_task_definition_families(given):
    return {"families": [f for f, all in definitions.items() if f.startswith(given["familyPrefix"]) and any(d["status"] == "ACTIVE" for d in all)]}


def list_task_definitions(given):
    return {"taskDefinitionArns": [d["taskDefinitionArn"] for d in definitions.get(given["familyPrefix"], []) if d["status"] == "ACTIVE"]}


def deregister_task_definition(given):
    d = defined(given["taskDefinition"])
    d["status"] = "INACTIVE"
    if not any(x["status"] == "ACTIVE" for x in definitions[d["family"]]):
        endpoints.gone("definition", d["family"])
    return {"taskDefinition": {k: v for k, v in d.items() if k != "of"}}


def checked(given):
    if given["cluster"] not in clusters:
        raise Refused("ClusterNotFoundException", "Cluster not found.")
    for b in given.get("loadBalancers", []):
        if b["targetGroupArn"] not in groups:
            raise Refused("InvalidParameterException", f"The target group with targetGroupArn {b['targetGroupArn']} does not have an associated load balancer.")


def create_service(given):
    checked(given)
    key = given["cluster"], given["serviceName"]
    if (s := services.get(key)) and s.status != "INACTIVE":
        raise Refused("InvalidParameterException", "Creation of service was not idempotent." if s.status == "ACTIVE" else "Unable to Start a service that is still Draining.")
    s = services[key] = Service(given)
    s.tags = dict_of(given.get("tags"))
    endpoints.note("service", s.name, [{"Key": k, "Value": v} for k, v in s.tags.items()])
    return {"service": s.described()}


def update_service(given):
    checked(given)
    s = live(given)
    s.change(given)
    return {"service": s.described()}


def delete_service(given):
    s = live(given)
    s.status = "DRAINING"
    threading.Thread(target=s.drain, daemon=True).start()
    return {"service": s.described()}


def describe_services(given):
    if given["cluster"] not in clusters:
        raise Refused("ClusterNotFoundException", "Cluster not found.")
    return {"services": [s.described() for n in given["services"] if (s := services.get((given["cluster"], n)))], "failures": []}


def tag_resource(given):
    next(s for s in services.values() if s.arn == given["resourceArn"]).tags.update(dict_of(given["tags"]))
    return {}


def list_tasks(given):
    return {"taskArns": [t.arn for t in tasks.values() if t.service.cluster == given["cluster"] and t.definition["family"] == given["family"] and t.ended.is_set() == (given["desiredStatus"] == "STOPPED")]}


def describe_tasks(given):
    return {"tasks": [
        {"taskArn": a, "stoppedReason": tasks[a].reason, "stoppedAt": tasks[a].stopped, "containers": [{"name": "main"} | ({} if tasks[a].exit is None else {"exitCode": tasks[a].exit})]} for a in given["tasks"]
    ]}


def scaled(given):
    _, cluster, name = given["ResourceId"].split("/")
    if (s := services.get((cluster, name))) is None or s.status != "ACTIVE":
        raise Refused("ValidationException", f"ECS service doesn't exist: {given['ResourceId']}")
    return s


def register_scalable_target(given):
    s = scaled(given)
    scaling[s.name] = {"least": given["MinCapacity"], "most": given["MaxCapacity"]}
    endpoints.note("scaling", s.name + ".scaling", [{"Key": "tenon:system", "Value": s.tags.get("tenon:system", "")}])
    return {}


def put_scaling_policy(given):
    scaling[scaled(given).name]["policy"] = given["TargetTrackingScalingPolicyConfiguration"]
    return {"PolicyARN": "arn"}


def deregister_scalable_target(given):
    name = given["ResourceId"].split("/")[2]
    if scaling.pop(name, None) is None:
        raise Refused("ObjectNotFoundException", "No scalable target found.")
    endpoints.gone("scaling", name + ".scaling")
    return {}


def describe_scalable_targets(given):
    return {"ScalableTargets": [{"ResourceId": i, "MinCapacity": x["least"], "MaxCapacity": x["most"], "Policy": x.get("policy")} for i in given["ResourceIds"] if (x := scaling.get(i.split("/")[2]))]}


class API(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        service, name = self.headers["X-Amz-Target"].split(".")
        bad = ParamValidator().validate(given, models[service].operation_model(name).input_shape)
        try:
            if bad.has_errors():
                raise Refused("InvalidParameterException", bad.generate_report())
            with guard:
                status, answer = 200, globals()[re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()](given)
        except Refused as e:
            status, answer = 400, {"__type": e.code, "message": e.message}
        say(self, status, [("Content-Type", "application/x-amz-json-1.1")], json.dumps(answer).encode())

    def log_message(self, *_):
        pass


def say(self, status, headers, b):
    self.send_response(status)
    for k, v in headers:
        if k.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
            self.send_header(k, v)
    self.send_header("Content-Length", str(len(b)))
    self.end_headers()
    self.wfile.write(b)


def balancer(of):
    """Starts the load balancer of a cluster, and returns its address. of has the target group by host, and "" for all others."""

    class Balancer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            group = of.get(self.headers["Host"].split(":")[0], of.get(""))
            if not group:
                return say(self, 404, [], b"no deployment has this host")
            with guard:
                ready = [t for s in services.values() if s.group == group for t in s.tasks if t.healthy]
            if not ready:
                return say(self, 503, [], b"no task is ready")
            try:
                say(self, *random.choice(ready).ask(self.command, self.path, body, {k: v for k, v in self.headers.items() if k.lower() != "connection"}))
            except OSError as e:
                say(self, 502, [], str(e).encode())

        do_GET = do_POST = answer

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Balancer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"127.0.0.1:{server.server_port}"


def control(asked):
    settings.update(asked.get("tasks", {}))
    with guard:
        for c in asked.get("clusters") or []:
            groups.update(c["groups"])
            address = clusters.get(c["name"], {}).get("tenon:address") or balancer(c["hosts"])
            clusters[c["name"]] = c["tags"] | {"tenon:address": address}


def run_outside():
    while True:
        threading.Thread(target=outside.get(), daemon=True).start()


def serve(emulator, port):
    global host
    threading.Thread(target=run_outside, daemon=True).start()
    host = emulator
    for prefix, name in ("AmazonEC2ContainerServiceV20141113", "ecs"), ("AnyScaleFrontendService", "application-autoscaling"):
        models[prefix] = botocore.session.get_session().get_service_model(name)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), API)
    threading.Thread(target=server.serve_forever, daemon=True).start()
