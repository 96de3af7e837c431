"""The files of deploy/kubernetes, read as Kubernetes reads them: by its own schemas, and for what they say together."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import redis
import yaml

from ingress.__main__ import FLUSH_SECONDS
from shared import config
from shared.catalogue import INBOX_OLDEST_SECONDS
from shared.inbox.keys import GROUP
from shared.providers import PROVIDERS
from shared.settings import Settings
from tests.deploy.docker.support import PROJECT, ROOT, VARIABLES, assert_runs
from tests.keys import INBOX
from workers import app

FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
VERSIONS = ("1.29", kubernetes_validate.latest_version())
KEDA = "keda.sh/v1alpha1"
ROLES = {"ingress", "worker", "beat", "flower", "migrate"}


def read(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


RESOURCES = [resource for name in KUSTOMIZATION["resources"] for resource in read(name)]


def of_kind(*kinds: str) -> dict[str, dict[str, Any]]:
    """The resources of these kinds by their names."""
    return {resource["metadata"]["name"]: resource for resource in RESOURCES if resource["kind"] in kinds}


WORKLOADS = of_kind("StatefulSet", "Deployment", "Job")
TEMPLATES = {
    workload["metadata"]["labels"]["app.kubernetes.io/component"]: workload["spec"]["template"]
    for workload in WORKLOADS.values()
}
PODS: dict[str, dict[str, Any]] = {role: template["spec"] for role, template in TEMPLATES.items()}
CONTAINERS: dict[str, dict[str, Any]] = {role: pod["containers"][0] for role, pod in PODS.items()}


def environment_of(role: str) -> dict[str, str]:
    """The variables that the container of a role gets from the manifests."""
    found: dict[str, str] = {}
    for source in CONTAINERS[role]["envFrom"]:
        if "configMapRef" in source:
            found |= of_kind("ConfigMap")[source["configMapRef"]["name"]]["data"]
        else:
            found |= of_kind("Secret")[source["secretRef"]["name"]]["stringData"]
    return found


def test_every_file_is_listed_and_every_listed_file_exists() -> None:
    listed = KUSTOMIZATION["resources"]
    assert len(set(listed)) == len(listed)
    assert set(listed) == {path.name for path in FOLDER.iterdir()} - {"kustomization.yaml"}
    assert set(KUSTOMIZATION) == {"apiVersion", "kind", "namespace", "resources", "images"}
    assert KUSTOMIZATION["namespace"] in of_kind("Namespace")


def test_no_resource_is_there_twice_or_in_a_namespace_of_its_own() -> None:
    names = [(resource["kind"], resource["metadata"]["name"]) for resource in RESOURCES]
    assert len(set(names)) == len(names)
    assert not [name for resource, name in zip(RESOURCES, names, strict=True) if "namespace" in resource["metadata"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_is_as_the_schema_of_kubernetes_says(version: str) -> None:
    checked = [resource for resource in RESOURCES if resource["apiVersion"] != KEDA]
    assert {resource["kind"] for resource in RESOURCES if resource not in checked} == {
        "ScaledObject",
        "TriggerAuthentication",
    }
    for resource in checked:
        kubernetes_validate.validate(resource, version, strict=True)


def test_the_schema_finds_a_field_that_does_not_exist() -> None:
    wrong = copy.deepcopy(WORKLOADS["callbox-worker"])
    wrong["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError, match="enableServiceLink"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_there_is_a_workload_for_every_role() -> None:
    assert set(TEMPLATES) == ROLES
    assert WORKLOADS["callbox-ingress"]["kind"] == "StatefulSet"
    assert WORKLOADS["callbox-migrate"]["kind"] == "Job"
    beat = WORKLOADS["callbox-beat"]["spec"]
    assert (beat["replicas"], beat["strategy"]) == (1, {"type": "Recreate"})


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_pod_has_only_the_rights_it_needs(role: str) -> None:
    pod, container = PODS[role], CONTAINERS[role]
    assert pod["securityContext"].items() >= {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001}.items()
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert len(pod["containers"]) == 1
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)
    labels = of_kind("Namespace")["callbox"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_pod_has_bounds_and_no_variables_of_services(role: str) -> None:
    pod, resources = PODS[role], CONTAINERS[role]["resources"]
    assert pod["enableServiceLinks"] is False
    assert resources["limits"] == {"memory": resources["requests"]["memory"]}
    assert "cpu" in resources["requests"]
    for volume in pod["volumes"]:
        assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"]
    assert {mount["name"] for mount in CONTAINERS[role]["volumeMounts"]} == {
        *(volume["name"] for volume in pod["volumes"]),
        *(["spool"] if role == "ingress" else []),
    }


@pytest.mark.parametrize("role", sorted(ROLES))
def test_every_command_is_one_that_the_image_has(role: str) -> None:
    assert_runs(role, CONTAINERS[role]["command"])
    assert CONTAINERS[role]["image"] == "callbox"
    (image,) = KUSTOMIZATION["images"]
    assert (image["name"], image["newTag"]) == ("callbox", PROJECT["version"])


@pytest.mark.parametrize(
    ("role", "known"),
    [
        ("ingress", {"CALLBOX_REDIS_URL", "EMNIFY_API_SECRET", "NXCLOUD_TOKEN"}),
        ("worker", {"CALLBOX_REDIS_URL", "CALLBOX_DATABASE_URL", "EMNIFY_API_SECRET", "NXCLOUD_TOKEN"}),
        ("beat", {"CALLBOX_REDIS_URL", "CALLBOX_DATABASE_URL"}),
        ("flower", {"CALLBOX_REDIS_URL", "FLOWER_BASIC_AUTH"}),
        ("migrate", {"CALLBOX_DATABASE_URL"}),
    ],
)
def test_a_role_knows_the_secrets_that_it_needs_and_no_more(role: str, known: set[str]) -> None:
    secrets = {key for secret in of_kind("Secret").values() for key in secret["stringData"]}
    environment = environment_of(role)
    assert secrets & set(environment) == known
    assert {name for name in environment if name.startswith("CALLBOX_")} <= VARIABLES
    config.load_settings(environment)


@pytest.mark.parametrize("role", ["ingress", "worker"])
def test_who_reads_the_sources_can_do_so(role: str, tmp_path: Path) -> None:
    environment = environment_of(role)
    (volume,) = [volume for volume in PODS[role]["volumes"] if "configMap" in volume]
    (mount,) = [mount for mount in CONTAINERS[role]["volumeMounts"] if mount["name"] == volume["name"]]
    data = of_kind("ConfigMap")[volume["configMap"]["name"]]["data"]
    path = Path(environment["CALLBOX_CONFIG"])
    assert str(path.parent) == mount["mountPath"]
    (tmp_path / path.name).write_text(data[path.name])
    loaded = config.load(tmp_path / path.name, environment, PROVIDERS)
    assert not loaded.literal, "a secret is in the file itself"
    assert len(loaded.sources) == 2


def test_no_secret_is_a_real_one() -> None:
    values = [value for secret in of_kind("Secret").values() for value in secret["stringData"].values()]
    assert values
    assert all("REPLACE-ME" in value for value in values)
    assert not [name for name, secret in of_kind("Secret").items() if "data" in secret]


def test_the_spool_is_on_a_volume_that_stays_and_that_its_user_may_write() -> None:
    workload, environment = WORKLOADS["callbox-ingress"]["spec"], environment_of("ingress")
    (claim,) = workload["volumeClaimTemplates"]
    (mount,) = [mount for mount in CONTAINERS["ingress"]["volumeMounts"] if mount["name"] == claim["metadata"]["name"]]
    assert Path(environment["CALLBOX_SPOOL_DIR"]).is_relative_to(mount["mountPath"])
    assert workload["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert PODS["ingress"]["securityContext"]["fsGroup"] == PODS["ingress"]["securityContext"]["runAsGroup"]
    gibibytes = int(claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi"))
    assert gibibytes * 1024**3 > 2 * Settings().spool_bytes


def test_the_ingress_is_asked_at_its_admin_port_and_says_that_it_stops_before_it_does() -> None:
    container, settings = CONTAINERS["ingress"], config.load_settings(environment_of("ingress"))
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert settings.admin_address == ("0.0.0.0", ports["admin"])
    assert container["command"][-1] == str(ports["callbacks"])
    asked = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
    assert asked == {
        "startup": {"path": "/healthz", "port": "admin"},
        "liveness": {"path": "/healthz", "port": "admin"},
        "readiness": {"path": "/readyz", "port": "admin"},
    }
    readiness = container["readinessProbe"]
    grace_seconds = settings.stop_grace_seconds
    assert readiness["periodSeconds"] * readiness["failureThreshold"] + readiness["timeoutSeconds"] < grace_seconds
    assert PODS["ingress"]["terminationGracePeriodSeconds"] > grace_seconds + settings.stop_seconds + FLUSH_SECONDS


@pytest.mark.parametrize("role", ["worker", "beat"])
def test_a_role_shows_its_metrics_at_its_admin_port(role: str) -> None:
    ports = {port["name"]: port["containerPort"] for port in CONTAINERS[role]["ports"]}
    assert config.load_settings(environment_of(role)).admin_address == ("0.0.0.0", ports["admin"])


def test_beat_is_asked_whether_it_lives() -> None:
    assert CONTAINERS["beat"]["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "admin"}


def test_a_worker_is_asked_for_progress_and_has_time_to_end() -> None:
    assert CONTAINERS["worker"]["livenessProbe"]["exec"]["command"] == ["python", "-m", "workers.health"]
    longest = app.app.conf.task_time_limit
    assert PODS["worker"]["terminationGracePeriodSeconds"] >= longest + app.app.conf.worker_soft_shutdown_timeout


def test_flower_changes_nothing_and_wants_a_password() -> None:
    assert "--read-only" in CONTAINERS["flower"]["command"]
    assert ":" in environment_of("flower")["FLOWER_BASIC_AUTH"]


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    expressions = [labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", ())]
    return selector.get("matchLabels", {}).items() <= labels.items() and all(expressions)


def labels_of(role: str) -> dict[str, str]:
    found: dict[str, str] = TEMPLATES[role]["metadata"]["labels"]
    return found


def selected(selector: dict[str, Any]) -> set[str]:
    return {role for role in ROLES if matches(selector, labels_of(role))}


def test_every_selector_means_one_role() -> None:
    for name, workload in WORKLOADS.items():
        if workload["kind"] != "Job":
            assert selected(workload["spec"]["selector"]) == {name.removeprefix("callbox-")}
    for name, service in of_kind("Service").items():
        (role,) = selected({"matchLabels": service["spec"]["selector"]})
        assert name.startswith(f"callbox-{role}")
        ports = {port["name"] for port in CONTAINERS[role]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    assert WORKLOADS["callbox-ingress"]["spec"]["serviceName"] in of_kind("Service")


def test_what_there_is_several_times_is_spread_and_never_all_away() -> None:
    for role in ("ingress", "worker"):
        spread = PODS[role]["topologySpreadConstraints"]
        assert [one["topologyKey"] for one in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        assert all(selected(one["labelSelector"]) == {role} for one in spread)
        budget = of_kind("PodDisruptionBudget")[f"callbox-{role}"]["spec"]
        assert (budget["maxUnavailable"], selected(budget["selector"])) == (1, {role})
    assert set(of_kind("PodDisruptionBudget")) == {"callbox-ingress", "callbox-worker"}, "one pod would keep its node"


def allowed(role: str, direction: str) -> Iterator[tuple[str, int]]:
    """From or to where a role's pods have connections, and the port. A policy that selects them refuses the rest."""
    side = "from" if direction == "ingress" else "to"
    for policy in of_kind("NetworkPolicy").values():
        if matches(policy["spec"]["podSelector"], labels_of(role)):
            for rule in policy["spec"].get(direction, ()):
                for peer in rule[side]:
                    for port in rule["ports"]:
                        yield yaml.safe_dump(peer), port["port"]


def test_nobody_reaches_what_is_not_named() -> None:
    deny = of_kind("NetworkPolicy")["deny-all"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in of_kind("NetworkPolicy").values():
        assert set(policy["spec"]["policyTypes"]) >= {
            name.title() for name in ("ingress", "egress") if name in policy["spec"]
        }
    inward = {role: {port for _, port in allowed(role, "ingress")} for role in ROLES}
    assert inward == {"ingress": {8000, 8001}, "worker": {8001}, "beat": {8001}, "flower": set(), "migrate": set()}
    for role in ("ingress", "worker", "beat"):
        peers = {port: peer for peer, port in allowed(role, "ingress")}
        assert "monitoring" in peers[8001]
        assert "gateway" in peers.get(8000, "gateway")


@pytest.mark.parametrize("role", sorted(ROLES))
def test_who_has_the_address_of_a_server_can_reach_it_and_nobody_else(role: str) -> None:
    outward = {port for _, port in allowed(role, "egress")} - {53}
    wanted = {"CALLBOX_REDIS_URL": 6379, "CALLBOX_DATABASE_URL": 5432}
    assert outward == {port for name, port in wanted.items() if name in environment_of(role)}


SCALED = of_kind("ScaledObject")["callbox-worker"]["spec"]
TRIGGERS: dict[str, dict[str, Any]] = {trigger["name"]: trigger for trigger in SCALED["triggers"]}


def test_the_scaler_of_the_workers_is_as_keda_reads_it() -> None:
    assert SCALED["scaleTargetRef"] == {"name": "callbox-worker"}
    assert "replicas" not in WORKLOADS["callbox-worker"]["spec"], "both would set them"
    assert 0 < SCALED["minReplicaCount"] < SCALED["maxReplicaCount"]
    assert set(SCALED["fallback"]) == {"failureThreshold", "replicas", "behavior"}
    assert set(SCALED) == {
        *("scaleTargetRef", "pollingInterval", "minReplicaCount", "maxReplicaCount"),
        *("fallback", "advanced", "triggers"),
    }
    hpa = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "made-by-keda"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "callbox-worker"},
            "maxReplicas": SCALED["maxReplicaCount"],
            **SCALED["advanced"]["horizontalPodAutoscalerConfig"],
        },
    }
    kubernetes_validate.validate(hpa, VERSIONS[-1], strict=True)
    for trigger in TRIGGERS.values():
        assert all(isinstance(value, str) for value in trigger["metadata"].values()), "KEDA takes texts only"


def test_the_scaler_counts_neither_pending_entries_nor_the_length_of_the_stream() -> None:
    lag = TRIGGERS["lag"]
    assert lag["type"] == "redis-streams"
    assert set(lag["metadata"]) == {
        *("address", "databaseIndex", "stream", "consumerGroup", "lagCount", "activationLagCount"),
    }
    assert int(lag["metadata"]["activationLagCount"]) > 0, "the scaler refuses 0"
    (parameter,) = of_kind("TriggerAuthentication")[lag["authenticationRef"]["name"]]["spec"]["secretTargetRef"]
    assert parameter["parameter"] == "password"
    assert parameter["key"] in of_kind("Secret")[parameter["name"]]["stringData"]
    url = of_kind("Secret")["callbox-redis"]["stringData"]["CALLBOX_REDIS_URL"]
    assert url.endswith(f"@{lag['metadata']['address']}/{lag['metadata']['databaseIndex']}")


def test_the_scaler_asks_for_metrics_that_exist() -> None:
    age = TRIGGERS["age"]
    assert age["type"] == "prometheus"
    assert set(age["metadata"]) == {"serverAddress", "query", "threshold", "activationThreshold"}
    names = set(re.findall(r"callbox_\w+", age["metadata"]["query"]))
    assert names == {INBOX_OLDEST_SECONDS.name}
    assert INBOX_OLDEST_SECONDS.query == age["metadata"]["query"]


def test_the_lag_that_the_scaler_reads_is_what_no_worker_has_taken(redis_url: str) -> None:
    """On a real Redis: what is claimed does not count, as what is held is, and what is deleted changes nothing."""
    stream, group = TRIGGERS["lag"]["metadata"]["stream"], TRIGGERS["lag"]["metadata"]["consumerGroup"]
    assert (stream, group) == (INBOX, GROUP)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:

        def put(count: int) -> None:
            for _ in range(count):
                client.xadd(stream, {"s": "fleet", "c": ""})

        def claim(count: int) -> list[str]:
            answer: Any = client.xreadgroup(group, "a-worker", {stream: ">"}, count=count)
            return [id for id, _ in answer[0][1]]

        def lag() -> int:
            groups: Any = client.xinfo_groups(stream)
            return next(int(one["lag"]) for one in groups if one["name"] == group)

        client.xgroup_create(stream, group, id="0", mkstream=True)
        put(3)
        claimed = claim(3)
        assert lag() == 0
        put(4)
        assert lag() == 4
        client.xack(stream, group, *claimed)
        client.xdel(stream, *claimed)
        assert lag() == 4
        claim(1)
        put(2)
        assert lag() == 5
        assert client.xlen(stream) == 6
