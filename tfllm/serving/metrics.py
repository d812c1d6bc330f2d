"""What Prometheus collects, under the names of TF Serving."""

from collections.abc import Iterable

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PATH = "/monitoring/prometheus/metrics"
_TIMES = [10 * 1.8**power for power in range(33)]  # microseconds; the buckets of TF Serving
_COUNTS = [2**power for power in range(15)]
_API = ("model_name", "API", "entrypoint")


class Metrics:
    """Counts of one server.

    Source of the names: tensorflow_serving/servables/tensorflow/util.cc and prometheus_exporter.cc.
    """

    def __init__(self):
        prometheus_client.disable_created_metrics()
        self._registry = CollectorRegistry()
        own = {"registry": self._registry}
        self._requests = Counter(
            ":tensorflow:serving:request_count", "Requests by status.", ("model_name", "status"), **own
        )
        self._latency = Histogram(
            ":tensorflow:serving:request_latency", "Microseconds of a request.", _API, buckets=_TIMES, **own
        )
        self._runtime = Histogram(
            ":tensorflow:serving:runtime_latency",
            "Microseconds of the run of the graph that answered a request.",
            ("model_name", "API", "runtime"),
            buckets=_TIMES,
            **own,
        )
        self._examples = Histogram(
            ":tensorflow:serving:request_example_counts", "Rows of a request.", ("model",), buckets=_COUNTS, **own
        )
        self._all_examples = Counter(":tensorflow:serving:request_example_count", "Rows.", ("model",), **own)
        self._batches = Histogram(
            ":tensorflow:serving:batching_session:processed_batch_size",
            "Rows of a run.",
            ("model_name",),
            buckets=_COUNTS,
            **own,
        )
        self._loads = Counter(
            ":tensorflow:cc:saved_model:load_attempt_count", "Loads of a version.", ("model_path", "status"), **own
        )
        self._load_time = Gauge(
            ":tensorflow:cc:saved_model:load_latency", "Microseconds of a load.", ("model_path",), **own
        )

    def answered(self, model: str, api: str, entrypoint: str, code: str, seconds: float) -> None:
        """Count a request: its model, "Predict" say, "REST" or "GRPC", the code of its answer, how long it took."""
        self._requests.labels(model, code).inc()
        if code == "OK":
            self._latency.labels(model, api, entrypoint).observe(seconds * 1e6)

    def ran(self, model: str, apis: Iterable[str], seconds: float, rows: int) -> None:
        """Count a run of a graph: what each of its requests asked for, "Predict" say, its time and its rows."""
        for api in apis:
            self._runtime.labels(model, api, "TF1").observe(seconds * 1e6)
        self._batches.labels(model).observe(rows)

    def counted(self, model: str, rows: int) -> None:
        """Count the examples of a request."""
        self._examples.labels(model).observe(rows)
        self._all_examples.labels(model).inc(rows)

    def loaded(self, path: str, status: str, seconds: float) -> None:
        """Count a load: "success" or "fail"."""
        self._loads.labels(path, status).inc()
        self._load_time.labels(path).set(seconds * 1e6)

    def page(self) -> bytes:
        """The text Prometheus reads. Its client ends the names of counters in `_total`; TF Serving does not."""
        text = generate_latest(self._registry)
        for name in (b":tensorflow:serving:request_count", b":tensorflow:cc:saved_model:load_attempt_count"):
            text = text.replace(name + b"_total", name)
        return text
