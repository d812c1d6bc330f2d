"""More requests than a server can answer, while its versions change. `python load.py URL GRPC MODELS NUMBERS SECONDS`

MODELS is what saved.py wrote; NUMBERS the directory of the model's versions, which is changed: five times another
version, once a broken one. It ends when that is done and SECONDS are over. Prints JSON: how many answers of each kind,
and everything that is wrong.
"""

import asyncio
import json
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

import grpc
import httpx
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

CLIENTS, GRPC_CLIENTS = 27, 9
ALLOWED = {"200", "429", "503", "504", "OK", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED"}


def check(counts: Counter, wrong: list, asked: list[int], found: list[int], versions: list[int]) -> None:
    """An answer is to this request, and of one version."""
    if found != asked or len(set(versions)) != 1 or versions[0] not in (1, 2):
        wrong.append([asked, found, versions])
    counts[f"version {versions[0]}"] += 1


async def ask_rest(number: int, url: str, going: asyncio.Event, counts: Counter, wrong: list) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        while going.is_set():
            asked = [number % 7, number % 11, number % 5][: 1 + number % 3]
            body = {"signature_name": "slow", "inputs": asked}
            try:
                response = await client.post("/v1/models/numbers:predict", content=json.dumps(body))
            except httpx.HTTPError as error:
                wrong.append(repr(error))
                continue
            counts[str(response.status_code)] += 1
            if response.status_code == 200:
                found = response.json()["outputs"]
                check(counts, wrong, asked, found["n"], found["version"])
            elif str(response.status_code) not in ALLOWED:
                wrong.append(response.text)
            elif response.status_code == 429:
                assert response.headers["retry-after"] == "1"
                await asyncio.sleep(0.1)
            number += CLIENTS


async def ask_grpc(number: int, address: str, going: asyncio.Event, counts: Counter, wrong: list) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        while going.is_set():
            asked = [number % 7, number % 11]
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = "numbers", "slow"
            request.inputs["n"].CopyFrom(tf.make_tensor_proto(np.array(asked, np.int32)))
            try:
                response = await stub.Predict(request, timeout=60)
            except grpc.aio.AioRpcError as error:
                counts[error.code().name] += 1
                if error.code().name not in ALLOWED:
                    wrong.append(error.details())
                await asyncio.sleep(0.1)
                continue
            counts["OK"] += 1
            versions = list(response.outputs["version"].int64_val)
            check(counts, wrong, asked, list(response.outputs["n"].int_val), versions)
            number += GRPC_CLIENTS


async def change_versions(models: Path, numbers: Path, url: str, seconds: float, wrong: list) -> None:
    """Five swaps and a broken version, one after the other."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        for version in range(2, 8):
            await asyncio.sleep(seconds / 8)
            beside = numbers / f".{version}"
            shutil.copytree(models / "numbers" / str(1 + version % 2), beside)
            if version == 4:
                (beside / "saved_model.pb").write_bytes(b"not a graph")
            beside.rename(numbers / str(version))
            state, end = "", time.monotonic() + 60
            while state not in ("AVAILABLE", "END"):
                found = (await client.get(f"/v1/models/numbers/versions/{version}")).json()
                state = found.get("model_version_status", [{"state": ""}])[0]["state"]
                await asyncio.sleep(0.05)
                if time.monotonic() > end:
                    wrong.append(f"version {version} is {state}")
                    return
            if (state == "END") != (version == 4):
                wrong.append(f"version {version} is {state}")


async def main(url: str, address: str, models: str, numbers: str, seconds: float) -> None:
    counts, wrong, going = Counter(), [], asyncio.Event()
    going.set()
    clients = [
        *(ask_rest(number, url, going, counts, wrong) for number in range(CLIENTS)),
        *(ask_grpc(number, address, going, counts, wrong) for number in range(GRPC_CLIENTS)),
    ]
    tasks = [asyncio.create_task(client) for client in clients]
    changes = change_versions(Path(models), Path(numbers), url, seconds, wrong)
    await asyncio.gather(changes, asyncio.sleep(seconds))
    going.clear()
    await asyncio.gather(*tasks)
    print(json.dumps({"counts": counts, "wrong": wrong[:20]}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5], float(sys.argv[5])))
