"""AWS Lambda, as far as tenon uses it, with functions that run.

An instance of a version is its archive in namespaces of its own, as a job of Batch is, which asks a runtime API for
invocations, one at a time. Kept of the contract of AWS: a function is pending at first and busy after each change, which refuses
further ones; a version is not published again if nothing has changed since the last one; an alias divides requests by
weights, and its version cannot be removed; a URL answers on a port of its own, only to requests that are signed for the service
and by the test's key; an instance that takes longer than the timeout, or that exits, fails the invocation; output in CloudWatch,
in a stream for each instance. Roles are names, and instances have all memory and cores of the machine.

{"unassumed": N} at the control port lets the next N calls say that the role cannot be assumed yet.
"""
import base64, hashlib, hmac, http.server, io, json, pathlib, queue, random, re, threading, time, urllib.parse, uuid, zipfile

BUSY = 0.05  # seconds that a change takes
INIT = 10.0  # seconds that the first request to the runtime API may take
functions, guard = {}, threading.RLock()
settings = {"unassumed": 0}


class Refused(Exception):
    def __init__(self, status, kind, message):
        self.status, self.kind, self.message = status, kind, message


class Instance:
    """A process that answers invocations of a version, one at a time."""

    def __init__(self, version):
        self.version, self.work = version, queue.Queue()
        self.begun, self.reply = threading.Event(), queue.Queue()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        c = version.config
        env = dict(c["Environment"]["Variables"]) | {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.server.server_port}", "AWS_LAMBDA_FUNCTION_NAME": c["FunctionName"], "AWS_LAMBDA_FUNCTION_VERSION": c["Version"],
            "AWS_REGION": emulator.REGION, "LAMBDA_TASK_ROOT": "/var/task", "_HANDLER": c["Handler"], "PATH": "/usr/bin:/bin"}
        box = emulator.FOLDER / "functions" / uuid.uuid4().hex
        box.mkdir(parents=True)
        stream = f"{time.strftime('%Y/%m/%d')}/[{c['Version']}]{uuid.uuid4().hex}"
        started = threading.Event()

        def run():  # the process ends with the thread that starts it
            self.process = emulator.start(version.root(), box, ["/var/task/bootstrap"], env, "/var/task")
            started.set()
            self.process.wait()

        threading.Thread(target=run, daemon=True).start()
        if not started.wait(60):
            raise Refused(500, "ServiceException", "the instance does not start")
        self.stream, self.group = stream, c["LoggingConfig"]["LogGroup"]
        emulator.copy_log(emulator.ACCOUNT, emulator.REGION, self.group, stream, self.process.stdout)

    def handler(instance):
        class Runtime(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                instance.begun.set()
                id, payload, deadline = instance.work.get()
                self.say(200, payload, {"Lambda-Runtime-Aws-Request-Id": id, "Lambda-Runtime-Deadline-Ms": str(int(deadline * 1000)), "Lambda-Runtime-Invoked-Function-Arn": instance.version.config["FunctionArn"]})

            def do_POST(self):
                b = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                instance.reply.put((self.path.endswith("/response"), b))
                self.say(202, b"{}", {})

            def say(self, status, b, headers):
                self.send_response(status)
                for k, v in (headers | {"Content-Length": str(len(b))}).items():
                    self.send_header(k, v)
                self.end_headers()
                self.wfile.write(b)

            def log_message(self, *_):
                pass

        return Runtime

    def ask(self, payload, timeout):
        """The answer of an invocation, and whether it is one of the function."""
        end = time.time() + (timeout if self.begun.is_set() else INIT + timeout)
        id = str(uuid.uuid4())
        self.say(f"START RequestId: {id} Version: {self.version.config['Version']}")
        self.work.put((id, payload, time.time() + timeout))
        while True:
            try:
                return self.reply.get(timeout=0.02)
            except queue.Empty:
                pass
            if self.process.poll() is not None and self.reply.empty():
                code = self.process.returncode
                why = "signal: killed" if code in (-9, 137) else f"exit status {code}"
                self.say(f"REPORT RequestId: {id}\tDuration: 1.00 ms\tBilled Duration: 1 ms\tMemory Size: 128 MB\tMax Memory Used: 20 MB\tStatus: error\tError Type: Runtime.ExitError")
                return False, json.dumps({"errorType": "Runtime.ExitError", "errorMessage": f"RequestId: {uuid.uuid4()} Error: Runtime exited with error: {why}"}).encode()
            if time.time() > end:
                self.end()
                self.say(f"REPORT RequestId: {id}\tDuration: {timeout * 1000:.2f} ms\tBilled Duration: {timeout * 1000:.0f} ms\tMemory Size: 128 MB\tMax Memory Used: 20 MB\tStatus: timeout")
                return False, json.dumps({"errorType": "Sandbox.Timedout", "errorMessage": f"RequestId: {uuid.uuid4()} Error: Task timed out after {timeout:.2f} seconds"}).encode()

    def say(self, line):
        emulator.logs_backends[emulator.ACCOUNT][emulator.REGION].put_log_events(self.group, self.stream, [{"timestamp": int(time.time() * 1000), "message": line}])

    def end(self):
        emulator.kill(self.process, 9)
        self.server.shutdown()


class Version:
    def __init__(self, config, archive):
        self.config, self.archive, self.free, self.running = config, archive, [], 0

    def root(self):
        at = emulator.FOLDER / "archives" / hashlib.sha256(self.archive).hexdigest()
        with guard:
            if not at.exists():
                new = at.with_suffix(".new")
                with zipfile.ZipFile(io.BytesIO(self.archive)) as z:
                    for i in z.infolist():
                        path = pathlib.Path(z.extract(i, new / "var/task"))
                        path.chmod(i.external_attr >> 16 or 0o644)
                for d in ("proc", "dev", "tmp", "etc", "tenon/work"):
                    (new / d).mkdir(parents=True, exist_ok=True)
                new.rename(at)
        return at

    def invoke(self, payload):
        with guard:
            self.running += 1
            instance = self.free.pop() if self.free else None
        try:
            instance = instance or Instance(self)
            good, answer = instance.ask(payload, self.config["Timeout"])
            if instance.process.poll() is None:
                with guard:
                    self.free.append(instance)
            return good, answer
        finally:
            with guard:
                self.running -= 1

    def end(self):
        for i in self.free:
            i.end()


class Function:
    def __init__(self, name):
        self.name, self.versions, self.aliases, self.urls, self.tags, self.reserved, self.last = name, {}, {}, {}, {}, None, 0
        self.busy = 0.0  # until when

    def at(self, qualifier):
        """The version that a request goes to."""
        a = self.aliases.get(qualifier)
        if a:
            more = (a.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
            x = random.random()
            for number, weight in more.items():
                x -= weight
                if x < 0:
                    return self.versions[number]
            qualifier = a["FunctionVersion"]
        if qualifier not in self.versions:
            raise Refused(404, "ResourceNotFoundException", f"Function not found: {self.name}:{qualifier}")
        return self.versions[qualifier]

    def change(self):
        if time.time() < self.busy:
            raise Refused(409, "ResourceConflictException", "The operation cannot be performed at this time. An update is in progress for resource: " + self.name)
        self.busy = time.time() + BUSY

    def invoke(self, qualifier, payload):
        with guard:
            if self.reserved is not None and sum(v.running for v in self.versions.values()) >= self.reserved:
                raise Refused(429, "TooManyRequestsException", "Rate Exceeded.")
            v = self.at(qualifier)
        return v.config["Version"], v.invoke(payload)


def arn(name):
    return f"arn:aws:lambda:{emulator.REGION}:{emulator.ACCOUNT}:function:{name}"


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%S.000+0000", time.gmtime())


def get(name):
    if name not in functions:
        raise Refused(404, "ResourceNotFoundException", "Function not found: " + arn(name))
    return functions[name]


def configured(f, version="$LATEST"):
    c = dict(f.versions[version].config)
    if version == "$LATEST":
        c["State"] = "Pending" if f.last == 0 and time.time() < f.busy and "created" in c else "Active"
        c["LastUpdateStatus"] = "InProgress" if time.time() < f.busy else "Successful"
    else:
        c["State"], c["LastUpdateStatus"] = "Active", "Successful"
    c.pop("created", None)
    return c


def assume():
    if settings["unassumed"] > 0:
        settings["unassumed"] -= 1
        raise Refused(400, "InvalidParameterValueException", "The role defined for the function cannot be assumed by Lambda.")


def sum256(b):
    return base64.b64encode(hashlib.sha256(b).digest()).decode()


def create(_, body, __):
    name = body["FunctionName"]
    if name in functions:
        raise Refused(409, "ResourceConflictException", "Function already exist: " + name)
    assume()
    b = base64.b64decode(body["Code"]["ZipFile"])
    f = functions[name] = Function(name)
    f.tags, f.busy = body.get("Tags") or {}, time.time() + BUSY
    keep = {k: v for k, v in body.items() if k not in ("Code", "Tags", "Publish")}
    f.versions["$LATEST"] = Version(keep | {"FunctionArn": arn(name), "Version": "$LATEST", "CodeSha256": sum256(b), "CodeSize": len(b), "LastModified": now(), "RevisionId": str(uuid.uuid4()), "created": True}, b)
    return 201, configured(f)


def update_configuration(m, body, _):
    f = get(m[0])
    f.change()
    assume()
    v = f.versions["$LATEST"]
    f.versions["$LATEST"] = Version(v.config | body | {"LastModified": now(), "RevisionId": str(uuid.uuid4())}, v.archive)
    return 200, configured(f)


def update_code(m, body, _):
    f = get(m[0])
    f.change()
    b = base64.b64decode(body["ZipFile"])
    v = f.versions["$LATEST"]
    f.versions["$LATEST"] = Version(v.config | {"Architectures": body["Architectures"], "CodeSha256": sum256(b), "CodeSize": len(b), "LastModified": now(), "RevisionId": str(uuid.uuid4())}, b)
    return 200, configured(f)


def publish(m, body, _):
    f = get(m[0])
    if time.time() < f.busy:
        raise Refused(409, "ResourceConflictException", "The function is currently in the following state: Pending")
    v = f.versions["$LATEST"]
    for k in "CodeSha256", "RevisionId":
        if body.get(k) not in (None, "", v.config[k]):
            raise Refused(412, "PreconditionFailedException", f"{k} is different from current {k}.")
    variable = ("Version", "FunctionArn", "LastModified", "RevisionId", "Description", "created")
    same = lambda a, b: {k: x for k, x in a.items() if k not in variable} == {k: x for k, x in b.items() if k not in variable}
    before = f.versions.get(str(f.last))
    if before is None or not same(before.config, v.config):
        f.last += 1
        n = str(f.last)
        f.versions[n] = Version(v.config | {"Version": n, "FunctionArn": arn(f.name) + ":" + n, "Description": body.get("Description") or "", "LastModified": now()}, v.archive)
    return 201, configured(f, str(f.last))


def delete(m, _, q):
    f, qualifier = get(m[0]), q.get("Qualifier")
    if qualifier is None:
        for v in functions.pop(f.name).versions.values():
            v.end()
        for server in f.urls.values():
            server.shutdown()
        return 204, None
    for a in f.aliases.values():
        if qualifier == a["FunctionVersion"] or qualifier in ((a.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}):
            raise Refused(409, "ResourceConflictException", f"Version {qualifier} is still being referenced by an alias: {a['Name']}")
    f.at(qualifier)
    f.versions.pop(qualifier).end()
    return 204, None


def alias(m, body, _):
    f = get(m[0])
    if body["Name"] in f.aliases:
        raise Refused(409, "ResourceConflictException", "Alias already exists: " + body["Name"])
    return 201, point(f, body["Name"], body)


def point(f, name, body):
    if body["FunctionVersion"] not in f.versions:
        raise Refused(404, "ResourceNotFoundException", "Function not found: " + arn(f.name) + ":" + body["FunctionVersion"])
    a = {"Name": name, "AliasArn": arn(f.name) + ":" + name, "RevisionId": str(uuid.uuid4())} | {k: body[k] for k in ("FunctionVersion", "Description", "RoutingConfig") if k in body}
    if not (a.get("RoutingConfig") or {}).get("AdditionalVersionWeights"):
        a.pop("RoutingConfig", None)
    f.aliases[name] = a
    return a


def get_alias(m, _, __):
    f = get(m[0])
    if m[1] not in f.aliases:
        raise Refused(404, "ResourceNotFoundException", "Cannot find alias arn: " + arn(f.name) + ":" + m[1])
    return 200, f.aliases[m[1]]


def update_alias(m, body, _):
    get_alias(m, body, _)
    return 200, point(get(m[0]), m[1], get(m[0]).aliases[m[1]] | body)


def url_of(f, qualifier):
    server = f.urls[qualifier]
    return {"FunctionUrl": f"http://127.0.0.1:{server.server_port}/", "FunctionArn": arn(f.name) + ":" + qualifier, "AuthType": "AWS_IAM", "CreationTime": now(), "LastModifiedTime": now(), "InvokeMode": "BUFFERED"}


def create_url(m, _, q):
    f, qualifier = get(m[0]), q["Qualifier"]
    if qualifier in f.urls:
        raise Refused(409, "ResourceConflictException", "Failed to create function url config for [functionArn = " + arn(f.name) + "]. Error message:  FunctionUrlConfig exists for this Lambda function")
    server = f.urls[qualifier] = http.server.ThreadingHTTPServer(("127.0.0.1", 0), url(f, qualifier))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return 201, url_of(f, qualifier)


def get_url(m, _, q):
    f, qualifier = get(m[0]), q["Qualifier"]
    if qualifier not in f.urls:
        raise Refused(404, "ResourceNotFoundException", "The resource you requested does not exist.")
    return 200, url_of(f, qualifier)


def delete_url(m, _, q):
    get_url(m, _, q)
    get(m[0]).urls.pop(q["Qualifier"]).shutdown()
    return 204, None


def reserve(m, body, _):
    get(m[0]).reserved = body["ReservedConcurrentExecutions"]
    return 200, body


def reserved(m, _, __):
    n = get(m[0]).reserved
    return 200, {} if n is None else {"ReservedConcurrentExecutions": n}


def unreserve(m, _, __):
    get(m[0]).reserved = None
    return 204, None


A = r"/2015-03-31/functions"
N = A + r"/([^/]+)"
ROUTES = [
    ("POST", A, create), ("GET", A, lambda *_: (200, {"Functions": [configured(f) for f in functions.values()]})),
    ("GET", N, lambda m, _, __: (200, {"Configuration": configured(get(m[0])), "Tags": get(m[0]).tags, "Code": {}})), ("DELETE", N, delete),
    ("GET", N + "/configuration", lambda m, _, q: (200, configured(get(m[0]), get(m[0]).at(q.get("Qualifier", "$LATEST")).config["Version"]))),
    ("PUT", N + "/configuration", update_configuration), ("PUT", N + "/code", update_code), ("POST", N + "/versions", publish),
    ("GET", N + "/versions", lambda m, _, __: (200, {"Versions": [configured(get(m[0]), v) for v in get(m[0]).versions]})),
    ("POST", N + "/aliases", alias), ("GET", N + "/aliases/([^/]+)", get_alias), ("PUT", N + "/aliases/([^/]+)", update_alias),
    ("POST", "/2021-10-31/functions/([^/]+)/url", create_url), ("GET", "/2021-10-31/functions/([^/]+)/url", get_url), ("DELETE", "/2021-10-31/functions/([^/]+)/url", delete_url),
    ("PUT", "/2017-10-31/functions/([^/]+)/concurrency", reserve), ("GET", "/2019-09-30/functions/([^/]+)/concurrency", reserved), ("DELETE", "/2017-10-31/functions/([^/]+)/concurrency", unreserve),
]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        path, _, query = self.path.partition("?")
        path, q = urllib.parse.unquote(path).rstrip("/"), dict(urllib.parse.parse_qsl(query))
        b = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {}
        try:
            m = re.fullmatch(N + "/invocations", path)
            if m and self.command == "POST":
                number, (good, out) = get(m[1]).invoke(q.get("Qualifier", "$LATEST"), b)
                status, headers = 200, {"X-Amz-Executed-Version": number} | ({} if good else {"X-Amz-Function-Error": "Unhandled"})
            else:
                do, m = next(((do, m) for method, p, do in ROUTES if method == self.command and (m := re.fullmatch(p, path))), (None, None))
                if do is None:
                    raise Refused(501, "NotImplemented", f"{self.command} {path}")
                with guard:
                    status, answer = do(m.groups(), json.loads(b or b"{}"), q)
                out = b"" if answer is None else json.dumps(answer).encode()
        except Refused as e:
            status, headers, out = e.status, {"X-Amzn-ErrorType": e.kind}, json.dumps({"Type": "User", "message": e.message, "Message": e.message}).encode()
        say(self, status, out, headers | {"Content-Type": "application/json"})

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_):
        pass


def say(handler, status, b, headers):
    handler.send_response(status)
    for k, v in headers.items():
        handler.send_header(k, v)
    if status != 204:
        handler.send_header("Content-Length", str(len(b)))
    handler.end_headers()
    handler.wfile.write(b)


def url(f, qualifier):
    """What answers at the URL of a function."""

    class URL(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            b = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            why = unsigned(self, b)
            if why:
                return say(self, 403, json.dumps({"Message": why}).encode(), {"Content-Type": "application/json"})
            path, _, query = self.path.partition("?")
            event = {"version": "2.0", "rawPath": path, "rawQueryString": query, "headers": {k.lower(): v for k, v in self.headers.items()},
                     "requestContext": {"stage": "$default", "http": {"method": self.command, "path": path, "sourceIp": "127.0.0.1"}}, "body": base64.b64encode(b).decode(), "isBase64Encoded": True}
            try:
                _, (good, out) = f.invoke(qualifier, json.dumps(event).encode())
            except Refused as e:
                return say(self, e.status, json.dumps({"Message": e.message}).encode(), {"X-Amzn-ErrorType": e.kind})
            if not good:
                return say(self, 502, b"Internal Server Error", {})
            a = json.loads(out)
            body = a["body"].encode()
            if a.get("isBase64Encoded"):
                body = base64.b64decode(body)
            say(self, a["statusCode"], body, a.get("headers") or {})

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, *_):
            pass

    return URL


def unsigned(r, body):
    """Why a request is not signed for AWS Lambda with the key "test", or "": Signature Version 4."""
    m = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=test/(\d{8})/([^/]+)/lambda/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})", r.headers.get("Authorization") or "")
    if not m:
        return "Forbidden. For troubleshooting Function URL authorization issues, see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
    day, region, names, signature = m.groups()
    path, _, query = r.path.partition("?")
    pairs = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
    quote = lambda s: urllib.parse.quote(s, safe="-_.~")
    canonical = "\n".join([r.command, urllib.parse.quote(path, safe="/-_.~"), "&".join(f"{quote(k)}={quote(v)}" for k, v in pairs)]
                          + [f"{n}:{' '.join((r.headers.get(n) or '').split())}" for n in names.split(";")] + ["", names, hashlib.sha256(body).hexdigest()])
    scope = f"{day}/{region}/lambda/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", r.headers.get("X-Amz-Date") or "", scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4test"
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    if not hmac.compare_digest(hmac.new(key, text.encode(), hashlib.sha256).hexdigest(), signature):
        return "The request signature we calculated does not match the signature you provided."
    return ""


def serve(of, port):
    """Answers the calls of AWS Lambda at a port, with what an emulator has."""
    global emulator
    emulator = of
    threading.Thread(target=http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever, daemon=True).start()
