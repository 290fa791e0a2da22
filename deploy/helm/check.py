"""Lints the chart, renders it with several sets of values, and holds what comes out against what it has to be.

Run by scripts/packaging in a venv with deploy/helm/requirements.txt: Helm's own library, and the schemas of Kubernetes.
"""

import pathlib
import re
import sys

import helm_python as helm
import kubernetes_validate
import yaml

CHART = pathlib.Path(__file__).with_name("rejoin")
ROOT = CHART.parents[2]
KUBERNETES = "1.28"
# Kinds of operators, of which Kubernetes has no schema.
FOREIGN = {"ScaledObject", "TriggerAuthentication", "ServiceMonitor"}

ORDERS = {"handlers": "queue: default\nhandlers: {}\n", "queues": ["default", "gpu"], "drainSeconds": 90}
SCALED = {**ORDERS, "autoscaling": {"enabled": True, "min": 0, "max": 20}}
PEER = [{"ipBlock": {"cidr": "10.0.0.0/8"}}]

ACCEPTED = {
    "defaults": {},
    "workers": {"workers": {"orders": ORDERS, "files": {"handlersFile": "/handlers.yaml"}}},
    "scaled by the broker": {"workers": {"orders": SCALED}, "amqp": {"prefix": "staging."}},
    "scaled by prometheus": {"workers": {"orders": SCALED}, "prometheus": {"address": "http://prometheus:9090"}},
    "closed": {"workers": {"orders": ORDERS}, "networkPolicy": {"database": PEER, "amqp": PEER}},
    "watched": {"serviceMonitor": {"enabled": True, "tokenSecret": {"name": "rejoin-viewer"}}},
    "configured": {"coordinator": {"config": '[retention]\ncompleted = "30d"\n', "access": "open"}},
    "sealed": {"encryption": {"key": "k2", "keys": {"k1": {"name": "keys", "key": "old"}, "k2": {"name": "keys", "key": "new"}}}},
    "unsealed again": {"encryption": {"keys": {"k1": {"name": "keys", "key": "k1"}}}},
    "bare": {"migrate": {"enabled": False}, "networkPolicy": {"enabled": False},
             "coordinator": {"podDisruptionBudget": {"enabled": False}}},
}
REFUSED = {
    "an unknown value": {"coordinators": {}},
    "another access": {"coordinator": {"access": "none"}},
    "a worker without handlers": {"workers": {"orders": {"replicas": 1}}},
    "a worker with two handlers files": {"workers": {"orders": {**ORDERS, "handlersFile": "/handlers.yaml"}}},
    "a worker's name that is none": {"workers": {"Orders_": ORDERS}},
    "a key to seal with that is not there": {"encryption": {"key": "k1"}},
    "a key's id that is no variable": {"encryption": {"keys": {"K-1": {"name": "keys", "key": "k1"}}}},
    "a key in the values": {"encryption": {"keys": {"k1": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}}},
    "scaling without queues": {"workers": {"orders": {"handlersFile": "/h.yaml", "autoscaling": {"enabled": True}}}},
}


def render(values):
    """The objects, by kind and name."""
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name="rejoin", namespace="flows")
    objects = [
        document
        for path, text in files.items()
        if path.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]
    return {(o["kind"], o["metadata"]["name"]): o for o in objects}


def pods(objects):
    return [o["spec"]["template"]["spec"] for o in objects.values() if "template" in o.get("spec", {})]


def check_all(name, objects):
    """What holds with any values."""
    for (kind, _), document in objects.items():
        if kind not in FOREIGN:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
    for pod in pods(objects):
        expect(name, "nothing talks to Kubernetes", pod["automountServiceAccountToken"] is False)
        expect(name, "nobody is root", pod["securityContext"]["runAsNonRoot"] is True)
        for container in pod["containers"]:
            context = container["securityContext"]
            expect(name, "root is read-only", context["readOnlyRootFilesystem"] is True)
            expect(name, "no capabilities", context["capabilities"] == {"drop": ["ALL"]})
            given = {variable["name"] for variable in container["env"]}
            expect(name, f"all of {sorted(given)} are settings", not unknown_settings(given))
            knows_database = "REJOIN_DATABASE__URL" in given
            expect(name, "workers do not know the database", knows_database is (container["name"] != "worker"))


def unknown_settings(variables):
    """The program refuses a REJOIN_ variable that it does not know. Keys are named by who has them."""
    variables = {re.sub(r"(?<=^REJOIN_ENCRYPTION__KEYS__)[A-Z0-9_]+$", "K2", variable) for variable in variables}
    known = set(re.findall(r"`(REJOIN_\w+)`", (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")))
    return {variable for variable in variables if variable.startswith("REJOIN_")} - known


def check_compose():
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    for name, service in services.items():
        given = set(service.get("environment", {}))
        expect("compose", f"{name}: all of {sorted(given)} are settings", not unknown_settings(given))


def check_each(rendered):
    """What certain values do."""
    coordinator = rendered["defaults"]["StatefulSet", "rejoin"]["spec"]["template"]["spec"]
    probes = {key: coordinator["containers"][0][f"{key}Probe"]["httpGet"]["path"] for key in ("liveness", "readiness")}
    expect("defaults", "probes", probes == {"liveness": "/livez", "readiness": "/readyz"})
    expect("defaults", "the disruption budget", ("PodDisruptionBudget", "rejoin") in rendered["defaults"])
    hook = rendered["defaults"]["Job", "rejoin-migrate"]["metadata"]["annotations"]["helm.sh/hook"]
    expect("defaults", "the hook", hook == "pre-install,pre-upgrade")

    worker = rendered["workers"]["Deployment", "rejoin-worker-orders"]["spec"]
    expect("workers", "grace is longer than the drain", worker["template"]["spec"]["terminationGracePeriodSeconds"] == 105)
    expect("workers", "replicas", worker["replicas"] == 1)

    by_broker = rendered["scaled by the broker"]
    expect("scaled", "replicas are KEDA's", "replicas" not in by_broker["Deployment", "rejoin-worker-orders"]["spec"])
    scaled = by_broker["ScaledObject", "rejoin-worker-orders"]["spec"]
    expect("scaled", "to zero", scaled["minReplicaCount"] == 0)
    queues = [trigger["metadata"]["queueName"] for trigger in scaled["triggers"]]
    expect("scaled", "a trigger a queue", queues == ["staging.rejoin.tasks.default", "staging.rejoin.tasks.gpu"])
    by_prometheus = rendered["scaled by prometheus"]
    triggers = by_prometheus["ScaledObject", "rejoin-worker-orders"]["spec"]["triggers"]
    expect("prometheus", "its triggers", [trigger["type"] for trigger in triggers] == ["prometheus", "prometheus"])
    expect("prometheus", "no secret is read", ("TriggerAuthentication", "rejoin-worker-orders") not in by_prometheus)

    egress = rendered["closed"]["NetworkPolicy", "rejoin-worker-orders"]["spec"]
    expect("closed", "a worker reaches names and the broker", len(egress["egress"]) == 2)
    types = rendered["closed"]["NetworkPolicy", "rejoin-coordinator"]["spec"]["policyTypes"]
    expect("closed", "coordinators too", types == ["Ingress", "Egress"])
    monitor = rendered["watched"]["ServiceMonitor", "rejoin"]["spec"]
    watched = rendered["watched"]["Service", "rejoin-coordinators"]["metadata"]["labels"]
    wanted = monitor["selector"]["matchLabels"]
    expect("watched", "the monitor finds its service", wanted.items() <= watched.items())
    sealed = rendered["sealed"]["StatefulSet", "rejoin"]["spec"]["template"]["spec"]["containers"][0]["env"]
    sealed = {variable["name"]: variable for variable in sealed}
    expect("sealed", "the key to seal with", sealed["REJOIN_ENCRYPTION__KEY"]["value"] == "k2")
    old = sealed["REJOIN_ENCRYPTION__KEYS__K1"]["valueFrom"]["secretKeyRef"]
    expect("sealed", "the older key is there", old == {"name": "keys", "key": "old"})
    for name, objects in rendered.items():
        others = [pod for (kind, _), o in objects.items() if kind != "StatefulSet" for pod in pods({0: o})]
        known = [v["name"] for pod in others for c in pod["containers"] for v in c["env"] if "ENCRYPTION" in v["name"]]
        expect(name, "only coordinators know keys", not known)
    config = rendered["configured"]["ConfigMap", "rejoin"]["data"]["rejoin.toml"]
    expect("configured", "the file", config.strip() == '[retention]\ncompleted = "30d"')


def expect(name, what, holds):
    if not holds:
        sys.exit(f"deploy, {name}: {what}: does not hold")


def lint():
    found = helm.lint(str(CHART))
    messages = found.get("messages", found) if isinstance(found, dict) else found
    # An icon is recommended, and there is none.
    bad = [message for message in messages if "icon is recommended" not in str(message)]
    if bad:
        sys.exit("chart: " + "\n".join(map(str, bad)))


def main():
    lint()
    rendered = {name: render(values) for name, values in ACCEPTED.items()}
    for name, objects in rendered.items():
        check_all(name, objects)
    check_each(rendered)
    check_compose()
    for name, values in REFUSED.items():
        try:
            render(values)
        except helm.HelmError:
            continue
        sys.exit(f"chart: {name} is not refused")
    print(f"chart: linted, rendered with {len(ACCEPTED)} sets of values, {len(REFUSED)} others refused")


if __name__ == "__main__":
    main()
