"""deploy/kubernetes and deploy/compose.yaml: what kubectl makes of them, by the schemas of
Kubernetes' own client (python3-kubernetes), and that they fit each other, server and image.

No cluster is asked. A ServiceMonitor is the Prometheus operator's, which Debian has no schema of.
"""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/kubernetes"
SCHEMAS = {"Deployment": "V1Deployment", "Service": "V1Service",
           "PodDisruptionBudget": "V1PodDisruptionBudget", "NetworkPolicy": "V1NetworkPolicy"}


def needs(name, here):
    if not here and os.environ.get("CI") == "true":
        pytest.fail(f"no {name} here, and CI=true")
    if not here:
        pytest.skip(f"no {name} here")


def module(name):
    try:
        return __import__(name, fromlist=["client"])
    except ImportError:
        needs(name, False)


@pytest.fixture(scope="module")
def objects():
    """By their kind, as `kubectl apply -k` would send them."""
    needs("kubectl", shutil.which("kubectl"))
    output = subprocess.run(["kubectl", "kustomize", FOLDER], capture_output=True, text=True,
                            check=True)
    return {each["kind"]: each for each in module("yaml").safe_load_all(output.stdout)}


@pytest.fixture(scope="module")
def pod(objects):
    return objects["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod):
    only, = pod["containers"]
    return only


def faults(client, kind, value, path):
    """Where a value is not of the type that the client's models name."""
    if listed := re.fullmatch(r"list\[(.+)\]", kind):
        if not isinstance(value, list):
            return [f"{path} is no list"]
        return [fault for i, each in enumerate(value)
                for fault in faults(client, listed[1], each, f"{path}[{i}]")]
    if mapped := re.fullmatch(r"dict\(str, (.+)\)", kind):
        return [fault for name, each in value.items()
                for fault in faults(client, mapped[1], each, f"{path}.{name}")]
    plain = {"str": str, "int": int, "bool": bool, "object": (str, int)}.get(kind)
    if plain:
        right = isinstance(value, plain) and (kind == "bool" or not isinstance(value, bool))
        return [] if right else [f"{path} is no {kind}: {value!r}"]
    model, own = getattr(client, kind), []
    try:
        model(**{name: value.get(key) for name, key in model.attribute_map.items()})
    except ValueError as missing:  # what must be given, or one of several
        own.append(f"{path}: {missing}")
    types = {key: model.openapi_types[name] for name, key in model.attribute_map.items()}
    for key, each in value.items():
        own += faults(client, types[key], each, f"{path}.{key}") if key in types \
            else [f"{path} has no {key}"]
    return own


def test_every_file_is_in_the_kustomization(objects):
    listed = module("yaml").safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert sorted([*listed, "kustomization.yaml"]) == sorted(path.name for path in FOLDER.iterdir())
    assert set(objects) == {*SCHEMAS, "HorizontalPodAutoscaler", "ServiceMonitor"}


def test_the_objects_are_what_kubernetes_client_knows(objects):
    client = module("kubernetes").client
    # autoscaling/v2 has the shape of v2beta2, which is as far as an older client goes.
    scaler = next(name for name in ("V2HorizontalPodAutoscaler", "V2beta2HorizontalPodAutoscaler")
                  if hasattr(client, name))
    for kind, schema in {**SCHEMAS, "HorizontalPodAutoscaler": scaler}.items():
        assert faults(client, schema, objects[kind], kind) == []


def test_the_schema_check_can_fail(objects):
    client = module("kubernetes").client
    for key, value in (("replica", 1), ("replicas", "3"), ("selector", None),
                       ("template", {"spec": {"containers": {}}})):
        wrong = {**objects["Deployment"], "spec": {**objects["Deployment"]["spec"], key: value}}
        if value is None:
            del wrong["spec"][key]
        assert faults(client, "V1Deployment", wrong, "Deployment")


def test_all_selectors_mean_the_pods_of_the_deployment(objects):
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert labels
    for kind in ("Deployment", "PodDisruptionBudget", "ServiceMonitor"):
        assert objects[kind]["spec"]["selector"]["matchLabels"] == labels, kind
    assert objects["Service"]["spec"]["selector"] == labels
    assert objects["Service"]["metadata"]["labels"] == labels  # which the ServiceMonitor looks for
    assert objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["apiVersion"], target["kind"], target["name"]) == (
        "apps/v1", "Deployment", objects["Deployment"]["metadata"]["name"])


def test_ports_go_by_names_that_exist(objects, container):
    own = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert own == {"http": 8080}  # the server's default, and the image's EXPOSE
    port, = objects["Service"]["spec"]["ports"]
    asked = [container[probe]["httpGet"]["port"] for probe in
             ("startupProbe", "readinessProbe", "livenessProbe")]
    rule, = objects["NetworkPolicy"]["spec"]["ingress"]
    asked += [port["targetPort"], *(each["port"] for each in rule["ports"])]
    assert set(asked) <= set(own)
    endpoint, = objects["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["port"] == port["name"] and endpoint["path"] == "/metrics"


def test_the_time_to_stop_fits_the_drain(pod, container):
    environment = {each["name"]: each["value"] for each in container["env"]}
    waited = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    stopping = int(environment["ALPACA_STOP_TIMEOUT"])
    assert waited + stopping < pod["terminationGracePeriodSeconds"]
    # Readiness goes before SIGTERM comes.
    assert waited > container["readinessProbe"]["periodSeconds"]


def test_the_pod_may_do_nothing_that_it_need_not(pod, container):
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.M)
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == (
        int(user[1]), int(user[2])) and pod["securityContext"]["runAsNonRoot"]
    own = container["securityContext"]
    assert own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"]
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert not pod["automountServiceAccountToken"]


@pytest.fixture(scope="module")
def server_names():
    """The options' variables and the metrics, from what the documents list."""
    text = (ROOT / "docs/api.md").read_text()
    return set(re.findall(r"`(ALPACA_\w+)`", text)), set(re.findall(r"`(alpaca_\w+)", text))


def test_variables_and_metrics_are_the_servers(objects, container, server_names):
    variables, metrics = server_names
    assert {each["name"] for each in container["env"]} <= variables
    metric, = objects["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "alpaca_requests_waiting"
    assert metric["pods"]["metric"]["name"] in metrics
    assert "alpaca_requests_waiting{" in (FOLDER / "autoscaler.yaml").read_text()


def test_compose_fits_haproxy_and_the_server(server_names):
    services = module("yaml").safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]
    haproxy = (ROOT / "deploy/haproxy.cfg").read_text()
    (name, slots, address), = re.findall(r"server-template (\w+) (\d+) (\S+)", haproxy)
    assert address == "alpaca:8080" and name in services
    assert services["alpaca"]["expose"] == ["8080"]
    assert services["alpaca"]["deploy"]["replicas"] <= int(slots)
    assert set(services["alpaca"]["environment"]) <= server_names[0]
    grace = int(services["alpaca"]["stop_grace_period"].removesuffix("s"))
    assert int(services["alpaca"]["environment"]["ALPACA_STOP_TIMEOUT"]) < grace
    bound, = re.findall(r"bind :(\d+)", haproxy)
    assert services["haproxy"]["ports"] == [f"8080:{bound}"]
    assert services["haproxy"]["volumes"] == [
        "./haproxy.cfg:/usr/local/etc/haproxy/haproxy.cfg:ro"]
