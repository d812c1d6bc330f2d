"""ONNX Runtime behind the same kind of server as `tfllm serve`: Starlette on uvicorn, what is computed in threads.

Runs in the peers' environment, started by http_contenders.py.
"""

import contest
import serving_peers
import uvicorn
from http_contenders import PATH
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


def main():
    asked = contest.request()
    label = serving_peers.onnx_labels(asked, serving_peers.random_model(asked))

    async def predict(request: Request) -> JSONResponse:
        texts = (await request.json())["instances"]
        return JSONResponse({"predictions": await run_in_threadpool(label, texts)})

    app = Starlette(routes=[Route(PATH, predict, methods=["POST"])])
    uvicorn.run(app, port=asked["port"], log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
