"""The application of the service in Python, main.py, which is the reference of the plane.

- `POST /predict` takes {"instances": [{column: value}]} and gives {"predictions": [{"prediction",
  "probability"}], "model"}; with ?probabilities=true also those of all classes.
- `GET /healthz` and `GET /readyz` answer 200, with X-Tenon-Instance; /readyz gives 503 during a drain.
- `GET /metrics` is for Prometheus.
- `GET /docs` shows the schema, made from the model's signature, with the units and descriptions of columns
  that the step's endpoint has; /openapi.json is the same for machines.

Values are checked against the signature, strictly: "12" is no integer, 9007199254740993 is no float64, and an
unknown field is an error, all with status 422. A nullable field may be left out. Dates and times are ISO 8601
strings: a timestamp has no zone, a timestamptz has one. Bytes are base64. A column with `json: true` takes a
string that is JSON. A request over the limit is refused with 413, one with too many instances with 422. So is
one of which a row has no prediction, such as NaN; `detail` names the row.

`detail` lists the first errors, at most MOST_ERRORS, and no value of the request. What is checked is bounded
before it is parsed, so no body takes much longer than a valid one of its size. The model is asked from one
thread, so that an object may keep something while it predicts.
"""

import asyncio
import json
import re
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Annotated, Any

import pyarrow as pa
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    generate_latest,
)
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

import tenon_model
import tenon_step
from tenon_http_schema import Rounded, attribute, example, instance_model, response_model, shown_example
from tenon_model import label_name
from tenon_step import Column, Step

MOST_ERRORS = 10  # that an answer lists
SURPLUS = 100  # brackets and values beyond those of a valid request that are still looked at
AT_ONCE = 1 << 16  # bytes that are parsed without a thread of their own
CLIENT_LEFT = 499  # the status that other servers count for a client that does not wait
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Service:
    """A loaded model, its application (`asgi`) and whether it is being drained."""

    def __init__(self, step: Step) -> None:
        port = step.input("model", "model")
        self.step = step
        self.model = tenon_model.load(port.path)
        self.draining = False
        self.worker = ThreadPoolExecutor(1, "model")
        name = step.params.get("model") or (step.unit.split("/") + ["model"])[1]
        self.about = {"name": str(name), "version": port.version, "digest": port.digest}
        endpoint = next((p for p in step.outputs.values() if p.kind == "endpoint"), None)
        self.request = {c.name: c for c in endpoint.request} if endpoint else {}
        self.response = {c.name: c for c in endpoint.response} if endpoint else {}
        self.instance = instance_model(self.model.signature, self.request)
        self.metrics = Metrics(step, self.model, self.about)
        self.paths = {"/predict", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"}
        self.paths.add(step.endpoint.get("ready") or "/readyz")
        if step.params.get("explain"):
            self.paths.add("/explain")
        self.most = step.params.get("max_instances") or 1000
        self.limit = step.params.get("max_bytes") or 8 << 20
        self.asgi = Observe(application(self), self)

    async def predict(
        self, instances: Sequence[BaseModel], probabilities: bool = False
    ) -> list[dict[str, Any]]:
        """One answer per instance. Raises Refused if one has none."""
        return await asyncio.get_running_loop().run_in_executor(
            self.worker, self._predict, instances, probabilities
        )

    def _predict(self, instances: Sequence[BaseModel], probabilities: bool = False) -> list[dict[str, Any]]:
        columns = self.model.signature.input
        arrays = [
            self._array([getattr(i, attribute(n)) for i in instances], c) for n, c in enumerate(columns)
        ]
        table = pa.table(arrays, names=[c.name for c in columns])
        try:
            answers = self.model.predict(table, probabilities)
        except tenon_model.RefusedValueError as e:
            raise Refused(refusal(e.says, "instances", e.row, e.column)) from e
        except tenon_model.NoPredictionError as e:
            raise Refused(refusal(f"the model has no prediction: {e.says}", "instances", e.row)) from e
        return answers.to_dict("records")

    def _array(self, values: list[Any], column: Column) -> pa.Array:
        kind = tenon_step.arrow_type(column.type)
        try:
            return pa.array(values, kind)
        except (pa.ArrowException, OverflowError, ValueError):
            for row, value in enumerate(values):
                try:
                    pa.array([value], kind)
                except (pa.ArrowException, OverflowError, ValueError):
                    says = f"the value does not fit {column.type}"
                    raise Refused(refusal(says, "instances", row, column.name)) from None
            raise

    def warm_up(self) -> None:
        """Predicts once, so that the first request finds everything loaded."""
        try:
            first = self.instance.model_validate(example(self.model.signature.input))
            self.worker.submit(self._predict, [first]).result()
        except Exception as e:  # the example is made up: a model may rightly refuse it
            tenon_step.log(f"note: the example of the schema has no prediction: {type(e).__name__}: {e}")


def application(service: Service) -> FastAPI:
    step, signature = service.step, service.model.signature
    label = signature.output.name
    app = FastAPI(
        title=service.about["name"],
        version=str(service.about["version"]),
        description=f"Predicts `{label}` ({signature.output.type}), a {signature.task}.",
    )
    request = create_model(
        "PredictRequest",
        __config__=ConfigDict(
            extra="forbid", json_schema_extra={"example": {"instances": [example(signature.input)]}}
        ),
        instances=(Annotated[list[service.instance], Field(min_length=1, max_length=service.most)], ...),
    )
    response = response_model(signature, service.response)
    headers = {"X-Tenon-Instance": step.instance}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/PredictRequest"}}}

    @app.post(
        "/predict",
        response_model=response,
        summary=f"Predict {label}",
        openapi_extra={"requestBody": {"content": content, "required": True}},
    )
    async def predict(
        request: Request,
        probabilities: Annotated[bool, Query(description="add the probability of every class")] = False,
    ) -> Response:
        every = probabilities and service.model.classification
        try:
            body = await read(request, service.limit)
            # A large body would keep other requests waiting.
            rows = (
                instances(service, body)
                if len(body) < AT_ONCE
                else await run_in_threadpool(instances, service, body)
            )
            answers = await service.predict(rows, every)
        except Refused as e:
            return JSONResponse({"detail": e.detail}, status_code=e.status)
        except ClientDisconnect:  # nobody reads this; it is only counted, and not as a failure
            return Response(status_code=CLIENT_LEFT)
        except Exception:
            tenon_step.log(traceback.format_exc())
            return JSONResponse(
                {"detail": "the model failed; the log of the service says why"}, status_code=500
            )
        service.metrics.predicted(answers)
        # The model's own output needs no second validation.
        return JSONResponse({"predictions": answers, "model": service.about})

    if step.params.get("explain"):

        @app.post("/explain", include_in_schema=False)
        async def explain() -> Response:
            says = "only predictions of trees that are served without Python are explained"
            return JSONResponse({"detail": says}, status_code=501)

    @app.exception_handler(RequestValidationError)
    async def refused(_: Request, e: RequestValidationError) -> Response:
        kept = [{k: error[k] for k in ("type", "loc", "msg")} for error in e.errors()[:MOST_ERRORS]]
        return JSONResponse({"detail": kept}, status_code=422)

    def documented_body() -> dict[str, Any]:
        if not app.openapi_schema:
            doc = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            schema = request.model_json_schema(ref_template="#/components/schemas/{model}")
            doc["components"]["schemas"] |= {**schema.pop("$defs"), "PredictRequest": schema}
            app.openapi_schema = doc
        return app.openapi_schema

    app.openapi = documented_body

    @app.get("/healthz", summary="Whether the process is alive")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"}, headers=headers)

    async def readyz() -> Response:
        status = "draining" if service.draining else "ready"
        return JSONResponse({"status": status}, status_code=503 if service.draining else 200, headers=headers)

    for path in {"/readyz", step.endpoint.get("ready") or "/readyz"}:
        app.add_api_route(path, readyz, summary="Whether it can answer", operation_id=f"ready{path}")

    @app.get("/metrics", summary="Metrics for Prometheus")
    def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return app


# --- Requests ---


class Refused(Exception):  # noqa: N818, it is an answer
    """What a request is refused with."""

    def __init__(self, detail: Any, status: int = 422) -> None:
        super().__init__(detail)
        self.detail, self.status = detail, status


def refusal(says: str, *where: str | int) -> list[dict[str, Any]]:
    return [{"type": "value_error", "loc": ["body", *where], "msg": says}]


async def read(request: Request, limit: int) -> bytes:
    """The body. Refused if it is larger than `limit`."""
    large = Refused(f"the request is larger than {limit} bytes", 413)
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise large
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise large
    return bytes(body)


def instances(service: Service, body: bytes) -> list[BaseModel]:
    """The rows of a request. Refused with the first errors if it has any."""
    names = {c.name for c in service.model.signature.input}
    check_size(body, service.most, len(names))
    doc = parse(body)
    rows = doc.get("instances") if isinstance(doc, dict) else None
    if not isinstance(rows, list):
        such = shown_example(service.model.signature.input)
        raise Refused(refusal(f'wanted an object with a list "instances", such as {such}'))
    errors: list[dict[str, Any]] = []
    for name in list(doc)[:MOST_ERRORS]:
        if name != "instances":
            errors += extra(name)
    if not rows:
        errors += refusal("the list has to have at least 1 item", "instances")
    if len(rows) > service.most:
        errors += refusal(f"the list may have at most {service.most} items", "instances")
    checked = []
    for n, row in enumerate(rows):
        if len(errors) >= MOST_ERRORS:
            break
        try:
            checked.append(service.instance.model_validate(row))
        except ValidationError as e:
            for error in e.errors(include_url=False, include_context=False, include_input=False):
                loc = ["body", "instances", n, *map(short, error["loc"])]
                errors.append({"type": error["type"], "loc": loc, "msg": error["msg"]})
    if errors:
        raise Refused(errors[:MOST_ERRORS])
    return checked


def extra(name: str) -> list[dict[str, Any]]:
    return [
        {"type": "extra_forbidden", "loc": ["body", short(name)], "msg": "Extra inputs are not permitted"}
    ]


def short(name: Any) -> Any:
    return name[:100] if isinstance(name, str) else name


def check_size(body: bytes, most: int, columns: int) -> None:
    """Refuses a body with more parts than `most` rows have, before they become objects of Python.

    A few too many may pass, so that an error can name what is wrong.
    """
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    values = most * (columns + 1) + SURPLUS
    if plain.count(b'"') <= 4 * values:
        outside = b"".join(plain.split(b'"')[::2])
        if (
            outside.count(b"{") <= most + SURPLUS
            and outside.count(b"[") <= SURPLUS
            and outside.count(b",") <= values
        ):
            return
    raise Refused(
        refusal(f"wanted at most {most} rows of {columns} fields, without lists or objects in them")
    )


def number(text: str) -> float:
    """A number with a fraction or an exponent."""
    value = float(text)
    whole, _, fraction = text.partition(".")
    integral = whole.lstrip("-").isdigit() and not fraction.strip("0")
    if len(whole) > 15 and integral and value != (exact := int(whole)):
        return Rounded(value, exact)
    return value


def parse(body: bytes) -> Any:
    """The JSON, strictly: no column twice, and text that is Unicode."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as e:
        raise Refused(refusal(f"the body is no UTF-8 at byte {e.start}")) from None
    try:
        doc = json.loads(text, object_pairs_hook=one_of_each, parse_float=number)
        if SURROGATE.search(text):
            json.dumps(doc, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as e:
        raise Refused(refusal(f"the body is no JSON: {e.msg} at character {e.pos}")) from None
    except UnicodeEncodeError:
        raise Refused(refusal("half of a surrogate pair is no text")) from None
    except RecursionError:
        raise Refused(refusal("the body is nested too deeply")) from None
    except ValueError:  # thousands of digits
        raise Refused(refusal("a number has too many digits")) from None
    return doc


def one_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Refused(refusal("a field is there twice"))
    return found


# --- Observation ---


class Metrics:
    """What Prometheus sees."""

    def __init__(self, step: Step, model: tenon_model.Model, about: Mapping[str, Any]) -> None:
        self.labels = {"deployment": step.params.get("deployment") or step.unit.rpartition("/")[2]}
        for name in "system", "env":
            if value := step.params.get(name):
                self.labels[name] = value
        buckets = step.params.get("latency_buckets") or BUCKETS
        self.requests = Counter("tenon_http_requests", "Requests answered", ["path", "code"])
        self.duration = Histogram(
            "tenon_http_request_duration_seconds", "Time to answer a request", ["path"], buckets=buckets
        )
        self.predictions = Counter("tenon_predictions", "Predictions made")
        self.classes = self.probability = self.value = None
        if model.classification:
            self.classes = Counter("tenon_prediction_class", "Predictions by class", ["class"])
            for c in model.classes:
                self.classes.labels(label_name(c))
            tenths = [i / 10 for i in range(1, 11)]
            self.probability = Histogram(
                "tenon_prediction_probability", "Probabilities given", buckets=tenths
            )
        else:
            # Quantiles of the training labels: predictions like them fill all buckets alike.
            quantiles = sorted(set(model.info.get("quantiles") or Histogram.DEFAULT_BUCKETS[:-1]))
            self.value = Histogram("tenon_prediction_value", "Values predicted", buckets=quantiles)

        def gauge(name: str, help: str, labels: Mapping[str, Any], value: float) -> Gauge:
            made = Gauge(name, help, list(labels))
            (made.labels(*map(str, labels.values())) if labels else made).set(value)
            return made

        gauge("tenon_model_info", "The model that answers", about, 1)
        created = step.input("model").created
        if created:
            at = datetime.fromisoformat(created).timestamp()
            gauge("tenon_model_created_timestamp_seconds", "When the model was made", {}, at)
        if report := step.inputs.get("report"):
            found = json.loads((report.path / "report.json").read_text(encoding="utf-8"))
            quality = Gauge("tenon_model_evaluation", "Metrics of the model's report", ["metric"])
            for name, value in (found.get("metrics") or {}).items():
                quality.labels(name).set(value)

    def predicted(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.predictions.inc(len(rows))
        for row in rows:
            if self.value is not None:
                self.value.observe(row["prediction"])
            elif self.classes is not None and self.probability is not None:
                self.classes.labels(label_name(row["prediction"])).inc()
                if "probability" in row:
                    self.probability.observe(row["probability"])

    def text(self) -> bytes:
        return generate_latest(Labelled(REGISTRY, self.labels))


class Labelled:
    """A registry whose samples all carry the given labels, so that rules can tell services apart."""

    def __init__(self, registry: CollectorRegistry, labels: Mapping[str, str]) -> None:
        self.registry, self.labels = registry, dict(labels)

    def collect(self) -> Iterator[Metric]:
        for metric in self.registry.collect():
            metric.samples = [s._replace(labels={**s.labels, **self.labels}) for s in metric.samples]
            yield metric


Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Observe:
    """Counts and times requests, and lets clients reconnect during a drain."""

    def __init__(self, app: FastAPI, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, code = time.perf_counter(), 500

        async def observed(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                if self.service.draining:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            await self.app(scope, receive, observed)
        finally:
            # Any other path is one label: strangers must not create time series.
            path = scope["path"] if scope["path"] in self.service.paths else "other"
            metrics = self.service.metrics
            metrics.requests.labels(path, str(code)).inc()
            metrics.duration.labels(path).observe(time.perf_counter() - start)
