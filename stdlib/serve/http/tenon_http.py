"""The application behind serve.http.

- `POST /predict` takes {"instances": [{column: value}]} and gives {"predictions": [{"prediction",
  "probability"}], "model"}; with ?probabilities=true also those of all classes.
- `GET /healthz` and `GET /readyz` answer 200, with X-Tenon-Instance; /readyz gives 503 during a drain.
- `GET /metrics` is for Prometheus.
- `GET /docs` shows the schema, made from the model's signature, with the units and descriptions of columns
  that the step's endpoint has; /openapi.json is the same for machines.

Values are checked against the signature, strictly: "12" is no integer and an unknown field is an error, both
with status 422. A nullable field may be left out. Dates and times are ISO 8601 strings: a timestamp has no
zone, a timestamptz has one. Bytes are base64. A request over the limit is refused with 413, one with too many
instances with 422.
"""

import base64
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from datetime import date, datetime
from datetime import time as time_of_day
from typing import Annotated, Any, Literal, Optional

import pyarrow as pa
from fastapi import FastAPI, Query, Response
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
from prometheus_client.multiprocess import MultiProcessCollector
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NaiveDatetime,
    Strict,
    WithJsonSchema,
    create_model,
)
from starlette.concurrency import run_in_threadpool

import tenon_model
import tenon_step
from tenon_model import label_name
from tenon_step import Column, Signature, Step

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Service:
    """A loaded model, its application (`asgi`) and whether it is being drained."""

    def __init__(self, step: Step) -> None:
        port = step.input("model", "model")
        self.step = step
        self.model = tenon_model.load(port.path)
        self.draining = False
        name = step.params.get("model") or (step.unit.split("/") + ["model"])[1]
        self.about = {"name": str(name), "version": port.version, "digest": port.digest}
        endpoint = next((p for p in step.outputs.values() if p.kind == "endpoint"), None)
        self.request = {c.name: c for c in endpoint.request} if endpoint else {}
        self.response = {c.name: c for c in endpoint.response} if endpoint else {}
        self.instance = instance_model(self.model.signature, self.request)
        self.metrics = Metrics(step, self.model, self.about)
        self.paths = {"/predict", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"}
        self.paths.add(step.endpoint.get("ready") or "/readyz")
        self.asgi = Observe(application(self), self, step.params.get("max_bytes") or 8 << 20)

    def predict(self, instances: Sequence[BaseModel], probabilities: bool = False) -> list[dict[str, Any]]:
        """One answer per instance."""
        columns = self.model.signature.input
        arrays = [
            pa.array([getattr(i, attribute(n)) for i in instances], tenon_step.arrow_type(c.type))
            for n, c in enumerate(columns)
        ]
        table = pa.table(arrays, names=[c.name for c in columns])
        return self.model.predict(table, probabilities).to_dict("records")

    def warm_up(self) -> None:
        """Predicts once, so that the first request finds everything loaded."""
        try:
            self.predict([self.instance.model_validate(example(self.model.signature.input))])
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
    most = step.params.get("max_instances") or 1000
    request = create_model(
        "PredictRequest",
        __config__=ConfigDict(
            extra="forbid", json_schema_extra={"example": {"instances": [example(signature.input)]}}
        ),
        instances=(Annotated[list[service.instance], Field(min_length=1, max_length=most)], ...),
    )
    response = response_model(signature, service.response)
    headers = {"X-Tenon-Instance": step.instance}

    @app.post("/predict", response_model=response, summary=f"Predict {label}")
    async def predict(
        body: request,
        probabilities: Annotated[bool, Query(description="add the probability of every class")] = False,
    ) -> Response:
        every = probabilities and service.model.classification
        rows = await run_in_threadpool(service.predict, body.instances, every)
        service.metrics.predicted(rows)
        # The model's own output needs no second validation.
        return JSONResponse({"predictions": rows, "model": service.about})

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


# --- The schema ---


def attribute(index: int) -> str:
    """The name of the attribute that holds column `index`, whose own name may not be one."""
    return f"c{index}"


def documented(column: Column | None, otherwise: str) -> dict[str, Any]:
    """What a field's schema says of a column for people."""
    if column is None or not (column.description or column.unit):
        return {"description": otherwise}
    text = column.description or otherwise
    if not column.unit:
        return {"description": text}
    return {"description": f"{text} ({column.unit})", "json_schema_extra": {"x-unit": column.unit}}


def instance_model(signature: Signature, written: Mapping[str, Column]) -> type[BaseModel]:
    """A pydantic model of one instance. Fields go by the names of the columns; `written` documents them."""
    fields: dict[str, Any] = {}
    for n, column in enumerate(signature.input):
        kind = field_type(column)
        info: dict[str, Any] = {"alias": column.name} | documented(written.get(column.name), column.type)
        if column.nullable:
            fields[attribute(n)] = (Optional[kind], Field(None, **info))  # noqa: UP045, kind is no class
        else:
            fields[attribute(n)] = (kind, Field(..., **info))
    config = ConfigDict(
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        json_schema_extra={"example": example(signature.input)},
    )
    return create_model("Instance", __config__=config, **fields)


def field_type(column: Column) -> Any:
    kind = column.type
    if kind.startswith(("int", "uint")):
        low, high = integer_range(kind)
        low = max(low, column.min) if column.min is not None else low
        high = min(high, column.max) if column.max is not None else high
        return Annotated[int, Field(ge=low, le=high)]
    if kind.startswith("float"):
        return Annotated[float, Field(ge=column.min, le=column.max)]
    if kind == "string":
        return Literal[column.values] if column.values else str
    if kind == "bytes":
        schema = {"type": "string", "format": "base64"}
        return Annotated[bytes, Strict(False), BeforeValidator(_from_base64), WithJsonSchema(schema)]
    types = {"date": date, "time": time_of_day, "timestamp": NaiveDatetime, "timestamptz": AwareDatetime}
    if kind in types:
        # Not strict, since JSON has no dates; text only, since a number would be taken for seconds since
        # 1970.
        return Annotated[types[kind], Strict(False), BeforeValidator(_only_iso)]
    return bool


def integer_range(kind: str) -> tuple[int, int]:
    bits = int(kind.lstrip("uint"))
    return (0, 2**bits - 1) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _only_iso(value: Any) -> Any:
    if isinstance(value, str) and not value[2:3].isdigit() and ":" in value[:3] or _dated(value):
        return value
    raise ValueError("wanted an ISO 8601 string")


def _dated(value: Any) -> bool:
    return isinstance(value, date | time_of_day | datetime) or (isinstance(value, str) and value[4:5] == "-")


def _from_base64(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("wanted a base64 string")
    return base64.b64decode(value, validate=True)


def response_model(signature: Signature, written: Mapping[str, Column]) -> type[BaseModel]:
    kind: Any = float
    if signature.task == "classification":
        values = signature.output.values
        named = {"bool": bool, "string": Literal[values] if values else str}
        kind = named.get(signature.output.type, int)
    about_it = documented(written.get("prediction"), signature.output.name)
    fields: dict[str, Any] = {"prediction": (kind, Field(..., **about_it))}
    if signature.task == "classification":
        of = "true" if signature.output.type == "bool" else "the predicted class"
        fields["probability"] = (
            float,
            Field(None, description=f"of {of}; absent if the model has none", ge=0, le=1),
        )
        fields["probabilities"] = (dict[str, float], Field(None, description="of every class, if requested"))
    prediction = create_model("Prediction", **fields)
    about = create_model("Model", name=(str, ...), version=(int, ...), digest=(str, ...))
    return create_model("PredictResponse", predictions=(list[prediction], ...), model=(about, ...))


def example(columns: Sequence[Column]) -> dict[str, Any]:
    """A valid instance."""
    return {c.name: example_value(c) for c in columns}


def example_value(column: Column) -> Any:
    texts = {
        "bytes": "AA==",
        "date": "2024-05-17",
        "time": "13:37:00",
        "timestamp": "2024-05-17T13:37:00",
        "timestamptz": "2024-05-17T13:37:00Z",
    }
    if column.type == "bool":
        return True
    if column.type == "string":
        return column.values[0] if column.values else "text"
    if column.type in texts:
        return texts[column.type]
    low, high = column.min, column.max
    value = (
        (low + high) / 2 if low is not None and high is not None else low if low is not None else high or 0
    )
    if column.type.startswith("float"):
        return float(value)
    value = int(value)
    return value + 1 if low is not None and value < low else value


# --- Observation ---


class Metrics:
    """What Prometheus sees. With several replicas their values are added up."""

    def __init__(self, step: Step, model: tenon_model.Model, about: Mapping[str, Any]) -> None:
        self.shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self.labels = {"deployment": step.params.get("deployment") or step.unit.rpartition("/")[2]}
        if system := step.params.get("system"):
            self.labels["system"] = system
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
            made = Gauge(name, help, list(labels), multiprocess_mode="max")
            (made.labels(*map(str, labels.values())) if labels else made).set(value)
            return made

        gauge("tenon_model_info", "The model that answers", about, 1)
        created = step.input("model").created
        if created:
            at = datetime.fromisoformat(created).timestamp()
            gauge("tenon_model_created_timestamp_seconds", "When the model was made", {}, at)
        if report := step.inputs.get("report"):
            found = json.loads((report.path / "report.json").read_text(encoding="utf-8"))
            quality = Gauge(
                "tenon_model_evaluation", "Metrics of the model's report", ["metric"], multiprocess_mode="max"
            )
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
        registry = REGISTRY
        if self.shared:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(Labelled(registry, self.labels))


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
    """Counts and times requests, refuses large ones, and lets clients reconnect during a drain."""

    def __init__(self, app: FastAPI, service: Service, limit: int) -> None:
        self.app, self.service, self.limit = app, service, limit

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
            body = await self._body(scope, receive)
            if body is None:
                large = JSONResponse(
                    {"detail": f"the request is larger than {self.limit} bytes"}, status_code=413
                )
                await large(scope, receive, observed)
            else:
                await self.app(scope, body, observed)
        finally:
            # Any other path is one label: strangers shall not make time series.
            path = scope["path"] if scope["path"] in self.service.paths else "other"
            metrics = self.service.metrics
            metrics.requests.labels(path, str(code)).inc()
            metrics.duration.labels(path).observe(time.perf_counter() - start)

    async def _body(self, scope: Message, receive: Receive) -> Receive | None:
        """Where to get the body from, or None if it is too large."""
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        if length.isdigit():
            return receive if int(length) <= self.limit else None
        if b"transfer-encoding" not in headers:
            return receive
        held: list[Message] = []
        size = 0
        while not held or held[-1].get("more_body"):
            held.append(await receive())
            size += len(held[-1].get("body", b""))
            if size > self.limit:
                return None

        async def replay() -> Message:
            return held.pop(0) if held else await receive()

        return replay
