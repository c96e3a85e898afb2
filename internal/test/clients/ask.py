"""Asks a running service with the clients of others: KServe's, Triton's and MLServer's, over REST and gRPC.

    ask.py http://127.0.0.1:8080 kserve

They predict for the example of its OpenAPI document and have to get what POST /predict answers. The locks
beside this file have their packages: those of MLServer exclude those of KServe.
"""

import asyncio
import json
import sys
import urllib.request


def post(url, body, kind="application/json"):
    request = urllib.request.Request(url, body, {"Content-Type": kind})
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def get(url):
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


class Case:
    """What is asked, and what is to be answered."""

    def __init__(self, url):
        self.url, self.authority = url, url.partition("//")[2]
        document = get(f"{url}/openapi.json")
        self.model = document["info"]["title"]
        properties = document["components"]["schemas"]["Instance"]["properties"]
        example = document["components"]["schemas"]["Instance"]["example"]
        self.nullable = [name for name, p in properties.items() if "anyOf" in p]
        self.rows = [example, example | dict.fromkeys(self.nullable), example]
        answer = post(f"{url}/predict?probabilities=true", json.dumps({"instances": self.rows}).encode())
        self.want = json.loads(answer)["predictions"]
        metadata = get(f"{url}/v2/models/{self.model}")
        self.inputs = {t["name"]: t["datatype"] for t in metadata["inputs"]}
        self.outputs = [t["name"] for t in metadata["outputs"]]

    def columns(self):
        """Name, datatype, values with something instead of nulls, and the indexes of nulls."""
        for name, datatype in self.inputs.items():
            values = [row[name] for row in self.rows]
            nulls = [i for i, v in enumerate(values) if v is None]
            filler = values[0]
            yield name, datatype, [filler if v is None else v for v in values], ",".join(map(str, nulls))

    def compare(self, client, tensors):
        """Compares tensors, which are lists by name, with the answer of /predict."""
        if "prediction" not in tensors or "probability" in self.want[0] and "probability" not in tensors:
            sys.exit(f"{client}: got only {', '.join(tensors)}")
        for name, values in tensors.items():
            for i, got in enumerate(values):
                want = self.want[i][name]
                if name == "probabilities":
                    want = list(want.values())
                if isinstance(got, bytes):
                    got = got.decode()
                if got != want:
                    sys.exit(f"{client}: {name}[{i}] is {got!r}, wanted {want!r}")
        print(f"ok  {client}")


def numpy_of(datatype, values):
    import numpy as np

    if datatype == "BYTES":
        return np.array([v.encode() for v in values], dtype=object)
    kind = {"BOOL": "bool", "FP32": "float32", "FP64": "float64"}.get(datatype, datatype.lower())
    return np.array(values, dtype=kind)


async def kserve(case):
    from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
    from kserve.inference_client import RESTConfig

    def request(binary):
        inputs = []
        for name, datatype, values, nulls in case.columns():
            x = InferInput(name, [len(values)], datatype, parameters={"nulls": nulls} if nulls else {})
            x.set_data_from_numpy(numpy_of(datatype, values), binary_data=binary)
            inputs.append(x)
        return InferRequest(model_name=case.model, infer_inputs=inputs)

    def tensors(answer):
        return {o.name: o.as_numpy().tolist() for o in answer.outputs}

    rest = InferenceRESTClient(RESTConfig(protocol="v2", timeout=30))
    assert await rest.is_server_live(case.url)
    assert await rest.is_server_ready(case.url)
    assert await rest.is_model_ready(case.url, case.model)
    for binary in (False, True):
        answer = await rest.infer(case.url, request(binary), model_name=case.model)
        case.compare(f"kserve, REST, binary tensors {binary}", tensors(answer))
    await rest.close()
    grpc = InferenceGRPCClient(case.authority)
    assert await grpc.is_server_live()
    assert await grpc.is_server_ready()
    assert await grpc.is_model_ready(case.model)
    for binary in (False, True):
        answer = await grpc.infer(request(binary))
        case.compare(f"kserve, gRPC, raw contents {binary}", tensors(answer))
    await grpc.close()


async def triton(case):
    import tritonclient.grpc as over_grpc
    import tritonclient.http as over_http

    case.rows, case.want = case.rows[:1], case.want[:1]  # its tensors have no nulls
    for kind, library in (("REST", over_http), ("gRPC", over_grpc)):
        client = library.InferenceServerClient(case.authority)
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(case.model)
        client.get_server_metadata()
        client.get_model_metadata(case.model)
        inputs = []
        for name, datatype, values, _ in case.columns():
            x = library.InferInput(name, [len(values)], datatype)
            x.set_data_from_numpy(numpy_of(datatype, values))
            inputs.append(x)
        outputs = [library.InferRequestedOutput(name) for name in case.outputs]
        answer = client.infer(case.model, inputs, outputs=outputs)
        case.compare(f"triton, {kind}", {name: answer.as_numpy(name).tolist() for name in case.outputs})
        client.close()


async def mlserver(case):
    import grpc
    from mlserver.codecs import NumpyCodec
    from mlserver.grpc import converters
    from mlserver.grpc import dataplane_pb2_grpc as stubs
    from mlserver.types import InferenceRequest, InferenceResponse, RequestInput

    inputs = []
    for name, datatype, values, nulls in case.columns():
        data = [None if str(i) in nulls.split(",") else v for i, v in enumerate(values)]
        inputs.append(RequestInput(name=name, shape=[len(data), 1], datatype=datatype, data=data))
    request = InferenceRequest(inputs=inputs)

    def tensors(answer):
        found = {}
        for o in answer.outputs:
            values = list(o.data) if o.datatype == "BYTES" else NumpyCodec.decode_output(o).flatten().tolist()
            found[o.name] = values
        return found

    answer = post(
        f"{case.url}/v2/models/{case.model}/infer", request.model_dump_json(exclude_none=False).encode()
    )
    case.compare("mlserver, REST", tensors(InferenceResponse.model_validate_json(answer)))
    plain = InferenceRequest(inputs=[])
    for name, datatype, values, nulls in case.columns():
        if datatype == "BYTES":
            values = [v.encode() for v in values]
        x = RequestInput(name=name, shape=[len(values), 1], datatype=datatype, data=values)
        if nulls:
            x = x.model_copy(update={"parameters": {"nulls": nulls}})
            x = RequestInput.model_validate(x.model_dump())
        plain.inputs.append(x)
    async with grpc.aio.insecure_channel(case.authority) as channel:
        message = converters.ModelInferRequestConverter.from_types(plain, model_name=case.model)
        answer = await stubs.GRPCInferenceServiceStub(channel).ModelInfer(message)
    case.compare("mlserver, gRPC", tensors(converters.ModelInferResponseConverter.to_types(answer)))


async def arrow(case):
    import datetime
    import io

    import polars as pl
    import pyarrow as pa

    document = get(f"{case.url}/openapi.json")
    properties = document["components"]["schemas"]["Instance"]["properties"]

    def value(name, v):
        kinds = properties[name].get("anyOf", [properties[name]])
        if v is not None and kinds[0].get("format") == "date-time":
            return datetime.datetime.fromisoformat(v)
        if v is not None and kinds[0].get("format") == "date":
            return datetime.date.fromisoformat(v)
        return v

    rows = [{name: value(name, v) for name, v in row.items()} for row in case.rows]
    table = pa.Table.from_pylist(rows)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    frame = io.BytesIO()
    pl.DataFrame(rows, infer_schema_length=None).write_ipc_stream(frame)
    for client, stream in (("pyarrow", sink), ("polars", frame)):
        answer = post(f"{case.url}/predict", stream.getvalue(), "application/vnd.apache.arrow.stream")
        found = pa.ipc.open_stream(answer).read_all().to_pydict()
        case.compare(client, {name: found[name] for name in ("prediction", "probability") if name in found})


def main():
    url, client = sys.argv[1:]
    asyncio.run(globals()[client](Case(url.rstrip("/"))))


main()
