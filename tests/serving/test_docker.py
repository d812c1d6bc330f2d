"""What `write_docker` writes is read by YAML, by TensorFlow Serving's messages, by nginx and by bash."""

import http.server
import inspect
import json
import re
import shutil
import socket
import subprocess
import threading

import httpx
import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config import model_server_config_pb2

from tfllm.checks import InputError
from tfllm.cli.serve import serve
from tfllm.serving.docker import TAGS, write_docker
from tfllm.serving.limits import Limits

NAMES = ["reviews", 'it\'s $HOME "@TAG@" 模型 #1', "50% back\\slash"]
TEXT = {"text": {"dtype": "string", "shape": [-1]}}


def make_model(base, name, inputs=TEXT, servers=tuple(TAGS), **signatures):
    """Something that looks like an exported model; nothing of it is run."""
    assets = base / name / "1" / "assets.extra"
    assets.mkdir(parents=True)
    (assets.parent / "saved_model.pb").write_bytes(b"")
    facts = {"servers": list(servers), "signatures": {"serving_default": {"inputs": inputs}, **signatures}}
    (assets / "tfllm.json").write_text(json.dumps(facts), "utf-8")
    return base / name


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    base = tmp_path_factory.mktemp("save $d {models}") / "savedmodels"
    for name in NAMES:
        make_model(base, name)
    return base


@pytest.fixture(scope="module")
def written(base, tmp_path_factory):
    directory = tmp_path_factory.mktemp("production") / "docker"
    assert all(file.is_file() for file in write_docker(base, directory))
    return directory


@pytest.fixture(scope="module")
def compose(written):
    return yaml.safe_load((written / "compose.yaml").read_text("utf-8"))


def test_compose_mounts_the_models_and_the_configuration_read_only(compose, base):
    for name in ("serving-1", "serving-2"):
        service = compose["services"][name]
        assert service["image"] == "tensorflow/serving:${TF_SERVING_TAG:-2.20.0}"
        models, config = service["volumes"]
        assert models["source"].replace("$$", "$") == str(base)
        assert models["source"].count("$") == 2 * str(base).count("$")
        assert (models["target"], config["target"]) == ("/models", "/config")
        assert models["read_only"] and config["read_only"] and service["read_only"]
        assert {"--enable_batching=true", "--batching_parameters_file=/config/batching.config"} <= set(
            service["command"]
        )
        assert service["deploy"]["resources"]["limits"]["memory"] == "${MEMORY:-1024M}"
    assert all(
        port.startswith("${BIND:-127.0.0.1}:") for one in compose["services"].values() for port in one.get("ports", [])
    )


def test_health_is_a_bash_program_that_asks_every_model(compose):
    *_, shell, flag, program = compose["services"]["serving-1"]["healthcheck"]["test"]
    program = program.replace("$$", "$")
    assert (shell, flag) == ("bash", "-c")
    subprocess.run(["bash", "-n", "-c", program], check=True)
    paths = program.partition("; do")[0].split()[3:]
    assert "/v1/models/reviews" in paths and len(paths) == 3
    assert all(
        set(path) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/%_.-~") for path in paths
    )


def test_models_config_names_every_model(written):
    text = (written / "config" / "models.config").read_text("utf-8")
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    found = {one.name: one for one in config.model_config_list.config}
    assert set(found) == set(NAMES)
    assert all(one.base_path == f"/models/{name}" for name, one in found.items())
    assert all(one.model_version_policy.latest.num_versions == 1 for one in found.values())
    canary = "\n".join(line.strip("# ") for line in text.splitlines() if line.startswith("#   "))
    one = text_format.Parse(canary, model_server_config_pb2.ModelConfig())
    assert dict(one.version_labels) == {"stable": 1, "canary": 2}


def test_batching_parameters_are_such_as_the_server_accepts(written):
    text = (written / "config" / "batching.config").read_text("utf-8")
    parameters = text_format.Parse(text, batching_parameters())
    sizes = list(parameters.allowed_batch_sizes)
    assert sizes == sorted(set(sizes)) and sizes[-1] == parameters.max_batch_size.value
    assert parameters.num_batch_threads.value >= 1
    assert not parameters.pad_variable_length_inputs


def batching_parameters():
    """An empty BatchingParameters, which no package has.

    Source: tensorflow_serving/servables/tensorflow/session_bundle_config.proto.
    """
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", package="tfllm_test", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    message = file.message_type.add(name="BatchingParameters")
    wrapped = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    for number, name in enumerate(wrapped, 1):
        field = message.field.add(name=name, number=number, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_MESSAGE)
        field.type_name = ".google.protobuf.Int64Value"
    message.field.add(name="allowed_batch_sizes", number=6, label=kinds.LABEL_REPEATED, type=kinds.TYPE_INT64)
    message.field.add(name="pad_variable_length_inputs", number=7, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_BOOL)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tfllm_test.BatchingParameters"))()


def test_prometheus_asks_both_replicas_where_the_server_answers(written):
    (job,) = yaml.safe_load((written / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["serving-1:8501", "serving-2:8501"]}]
    monitoring = (written / "config" / "monitoring.config").read_text("utf-8")
    assert f'path: "{job["metrics_path"]}"' in monitoring and "enable: true" in monitoring


def test_kubernetes_manifests_belong_together(written):
    documents = list(yaml.safe_load_all((written / "kubernetes.yaml").read_text("utf-8")))
    kinds = {document["kind"]: document for document in documents}
    assert set(kinds) == {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"}
    pod = kinds["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    assert container["readinessProbe"]["httpGet"]["path"].startswith("/v1/models/")
    assert "--model_config_file=/config/models.config" in container["args"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {one["name"] for one in pod["spec"]["volumes"]}
    for service in (one for one in documents if one["kind"] == "Service"):
        assert service["spec"]["selector"] == pod["metadata"]["labels"]
        assert all(port["targetPort"] in ports for port in service["spec"]["ports"])
    assert kinds["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == kinds["Deployment"]["metadata"]["name"]


def test_kubernetes_starts_the_server_as_compose_does(written, compose):
    deployment = next(yaml.safe_load_all((written / "kubernetes.yaml").read_text("utf-8")))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"] == compose["services"]["serving-1"]["command"]


def test_nginx_balances_rest_and_grpc_over_both_replicas(written):
    text = (written / "nginx.conf").read_text("utf-8")
    assert text.count("{") == text.count("}")
    for port in (8500, 8501):
        assert all(f"server serving-{number}:{port} " in text for number in (1, 2))
    assert "grpc_pass grpc://grpc;" in text and "proxy_pass http://rest;" in text


def test_nginx_takes_bodies_as_large_as_the_local_server_does(written):
    text = (written / "nginx.conf").read_text("utf-8")
    assert [int(size) * 2**20 for size in re.findall(r"client_max_body_size (\d+)m;", text)] == [Limits().body_bytes]
    default = inspect.signature(serve).parameters["max_body_bytes"].default
    assert default == Limits().body_bytes


def test_nginx_accepts_its_file(written, tmp_path, nginx):
    text = (written / "nginx.conf").read_text("utf-8")
    for number in (1, 2):
        text = text.replace(f"serving-{number}:", "127.0.0.1:")  # names that only compose's network knows
    (tmp_path / "nginx.conf").write_text(text, "utf-8")
    done = subprocess.run([nginx, "-t", "-p", tmp_path, "-c", "nginx.conf"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_image_has_the_ops_of_all_models(tmp_path):
    make_model(tmp_path / "old", "a", servers=["2.18", "2.19"])
    make_model(tmp_path / "old", "b", servers=["2.19", "2.20"])
    write_docker(tmp_path / "old", tmp_path / "docker")
    assert "tensorflow/serving:${TF_SERVING_TAG:-2.19.0}" in (tmp_path / "docker" / "compose.yaml").read_text("utf-8")
    make_model(tmp_path / "old", "c", servers=["2.20"])
    with pytest.raises(InputError, match=r"has the ops of all models \(a: 2.18, 2.19;"):
        write_docker(tmp_path / "old", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_one_model_that_takes_lists_turns_batching_off(tmp_path):
    lists = {"choices": {"dtype": "string", "shape": [-1, -1]}, **TEXT}
    write_docker(make_model(tmp_path, "quiz", lists), tmp_path / "docker")
    service = yaml.safe_load((tmp_path / "docker" / "compose.yaml").read_text("utf-8"))["services"]["serving-1"]
    assert service["volumes"][0]["target"] == "/models/quiz"
    assert not [flag for flag in service["command"] if "batching" in flag]
    assert not (tmp_path / "docker" / "config" / "batching.config").exists()
    for name in ("compose.yaml", "kubernetes.yaml", "README.md"):
        assert "quiz takes lists of any length" in (tmp_path / "docker" / name).read_text("utf-8")


def test_versions_may_have_leading_zeros(tmp_path):
    """As those of TensorFlow Serving's own examples: half_plus_two/00000123. The highest number counts."""
    for version, sizes in (("9", [-1, -1]), ("00000123", [-1])):
        numbered = make_model(tmp_path / "save", "half", {"x": {"dtype": "string", "shape": sizes}}) / "1"
        numbered.rename(numbered.with_name(version))
    assert all(file.is_file() for file in write_docker(tmp_path / "save", tmp_path / "all"))
    write_docker(tmp_path / "save" / "half", tmp_path / "one")
    for name in ("all", "one"):
        service = yaml.safe_load((tmp_path / name / "compose.yaml").read_text("utf-8"))["services"]["serving-1"]
        assert "--enable_batching=true" in service["command"], "as 123 says, which takes no lists"
        config = (tmp_path / name / "config" / "models.config").read_text("utf-8")
        assert 'name: "half"' in config and 'base_path: "/models/half"' in config
    assert service["volumes"][0]["target"] == "/models/half"


def test_the_turns_of_a_conversation_are_lists_and_tokens_are_not(tmp_path):
    numbers = {"token_ids": {"dtype": "int32", "shape": [-1, -1]}}
    turns = {"roles": {"dtype": "string", "shape": [-1, -1]}}
    for name, more, batched in (
        ("plain", {"tokens": {"inputs": numbers}}, True),
        ("talk", {"chat": {"inputs": turns}}, False),
    ):
        write_docker(make_model(tmp_path / name, name, **more), tmp_path / f"docker-{name}")
        assert ("--enable_batching" in (tmp_path / f"docker-{name}" / "compose.yaml").read_text("utf-8")) == batched


def test_a_version_that_serve_refuses_is_not_put_into_production(tmp_path):
    make_model(tmp_path / "base", "a")  # with nothing that says who wrote it
    with pytest.raises(InputError, match=r"a/1 has no manifest\.json"):
        serve(tmp_path / "base", emit_docker=tmp_path / "docker")
    assert not (tmp_path / "docker").exists()
    serve(tmp_path / "base", emit_docker=tmp_path / "docker", trust=True)
    assert (tmp_path / "docker" / "compose.yaml").is_file()


@pytest.fixture
def nginx():
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    return found or pytest.skip("needs nginx")


@pytest.fixture
def full_replicas():
    """Two servers that answer every POST with 503, and how many came to each."""

    class Full(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.server.hosts.append(self.headers["Host"])
            self.send_response(503)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Full) for _ in range(2)]
    for server in servers:
        server.hosts = []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()


def test_nginx_passes_on_that_too_many_requests_wait(written, tmp_path, nginx, full_replicas):
    """A 503 goes to no other replica, which has as much to do, and takes none out of service."""
    text = (written / "nginx.conf").read_text("utf-8")
    with socket.socket() as one, socket.socket() as other:
        for found in (one, other):
            found.bind(("127.0.0.1", 0))
        rest, grpc = (found.getsockname()[1] for found in (one, other))
    text = text.replace("listen 8501", f"listen 127.0.0.1:{rest}").replace("listen 8500", f"listen 127.0.0.1:{grpc}")
    for number, server in enumerate(full_replicas, 1):
        text = text.replace(f"serving-{number}:8501", f"127.0.0.1:{server.server_port}")
        text = text.replace(f"serving-{number}:8500", f"127.0.0.1:{server.server_port}")
    (tmp_path / "nginx.conf").write_text(re.sub(r"(?<= )/tmp/", f"{tmp_path}/", text), "utf-8")
    with subprocess.Popen([nginx, "-p", tmp_path, "-c", "nginx.conf", "-g", "daemon off;"]) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{rest}", transport=httpx.HTTPTransport(retries=8)) as client:
                answers = [client.post("/v1/models/a:predict", content=b"{}") for _ in range(20)]
        finally:
            process.terminate()
    assert {(answer.status_code, answer.text) for answer in answers} == {(503, "{}")}
    assert [host for server in full_replicas for host in server.hosts] == [f"127.0.0.1:{rest}"] * 20


@pytest.mark.parametrize(
    ("arrange", "message"),
    [
        (lambda base: base.mkdir(), "holds no model"),
        (lambda base: None, "no such file or directory"),
        (lambda base: make_model(base, "a:b"), "stands in URLs"),
        (lambda base: make_model(base, "a\nb"), "stands in URLs"),
        (lambda base: (make_model(base, "a") / "1/assets.extra/tfllm.json").write_text("[1]"), "damaged"),
        (lambda base: (make_model(base, "a") / "1/assets.extra/tfllm.json").write_text('{"signatures": 1}'), "damaged"),
        (lambda base: (make_model(base, "a").parents[1] / "docker" / "x").mkdir(parents=True), "already exists"),
    ],
    ids=["no model", "no directory", "colon", "newline", "list", "number", "taken"],
)
def test_what_cannot_work_is_refused_and_nothing_is_written(tmp_path, arrange, message):
    arrange(tmp_path / "base")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message):
        write_docker(tmp_path / "base", tmp_path / "docker")
    assert sorted(tmp_path.rglob("*")) == before
