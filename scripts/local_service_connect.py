"""ECS Service Connect for the local AWS, which both emulators lack.

Cloud Map is moto's, in both. ECS's part is here: it creates an endpoint in Cloud Map for each port of
a service, and deletes it with the service. Where containers run, each name of an endpoint has an
address of this machine, the gateway of a Docker network of its own, on which a proxy listens on the
ports of the endpoints. A container finds the names in /etc/hosts: those that existed when its
deployment began, as on AWS.
"""

import json
import os
import random
import re
import socket
import socketserver
import threading

import local_services

ACCOUNT = "000000000000"
DEPLOYMENTS = {}  # what is known of a deployment by its id: the configuration, and the addresses of names
CURRENT = {}  # the same of the newest deployment, by cluster and service
ENDPOINTS = {}  # by namespace id and discovery name
ADDRESSES = {}  # by namespace id and host name
LOCK = threading.RLock()


def cloud_map(region):
    from moto.servicediscovery.models import servicediscovery_backends

    return servicediscovery_backends[ACCOUNT][region]


def region_of(call):
    authorization = dict(call.scope["headers"]).get(b"authorization", b"").decode()
    found = re.search(r"Credential=[^/]+/\d+/([^/]+)/", authorization)
    return found[1] if found else "us-east-1"


def error(code, message):
    body = json.dumps({"__type": code, "message": message, "Message": message}).encode()
    return 400, [(b"content-type", b"application/x-amz-json-1.1"), (b"x-amzn-errortype", code.encode())], body


def answer(value):
    return 200, [(b"content-type", b"application/x-amz-json-1.1")], json.dumps(value).encode()


def filtered(items, request, fields):
    """Keeps the items that all filters match. moto ignores filters."""
    for one in request.get("Filters", []):
        items = [item for item in items if fields[one["Name"]](item) in one["Values"]]
    return items


def with_cloud_map(ask_moto):
    """Returns the handlers of Cloud Map's calls, which send the others to moto."""

    async def create_namespace(app, call):
        # moto accepts a second namespace of the same name.
        request, backend = json.loads(call.body), cloud_map(region_of(call))
        if any(one.name == request["Name"] and one.type == "HTTP" for one in backend.namespaces.values()):
            return error("NamespaceAlreadyExists", "The namespace that you're trying to create already exists")
        return await ask_moto(app, call)

    async def delete_namespace(app, call):
        # moto deletes a namespace with services.
        request, backend = json.loads(call.body), cloud_map(region_of(call))
        if any(one.namespace_id == request["Id"] for one in backend.services.values()):
            return error("ResourceInUse", "Namespace has associated services; delete the services before deleting the namespace")
        forget_addresses(request["Id"])
        return await ask_moto(app, call)

    async def list_namespaces(_, call):
        fields = {"NAME": lambda one: one.name, "TYPE": lambda one: one.type, "HTTP_NAME": lambda one: one.name}
        found = filtered(list(cloud_map(region_of(call)).namespaces.values()), json.loads(call.body), fields)
        return answer({"Namespaces": [one.to_json() for one in found]})

    async def list_services(_, call):
        found = filtered(list(cloud_map(region_of(call)).services.values()), json.loads(call.body), {"NAMESPACE_ID": lambda one: one.namespace_id})
        # A summary has no namespace.
        return answer({"Services": [{k: v for k, v in one.to_json().items() if k != "NamespaceId" and v is not None} for one in found]})

    return {
        ("servicediscovery", "CreateHttpNamespace"): create_namespace,
        ("servicediscovery", "DeleteNamespace"): delete_namespace,
        ("servicediscovery", "ListNamespaces"): list_namespaces,
        ("servicediscovery", "ListServices"): list_services,
        ("servicediscovery", "*"): ask_moto,
    }


def refused(message):
    return error("InvalidParameterException", message)


def check(region, owner, connect, port_names):
    """Returns what AWS refuses in a configuration. `owner` is its cluster and service."""
    namespace = namespace_of(region, connect)
    if namespace is None:
        return refused(f"The namespace {connect.get('namespace')} does not exist")
    names, services = set(), connect.get("services", [])
    for one in services:
        aliases = one.get("clientAliases", [])
        if len(aliases) != 1:
            return refused("clientAliases must have 1 element.")
        if one["portName"] not in port_names:
            return refused(f"portName {one['portName']} does not refer to any named PortMapping in the task definition")
        if one["portName"] in names:
            return refused(f"portName {one['portName']} is not unique")
        names.add(one["portName"])
        discovery, alias = one.get("discoveryName", one["portName"]), aliases[0]
        if not re.fullmatch(r"[a-z0-9_][a-z0-9_-]{0,63}", discovery) or not re.fullmatch(r"[a-z0-9_][a-z0-9_.-]{0,126}", alias.get("dnsName", discovery)):
            return refused(f"The names {discovery} and {alias} must have only lowercase letters, digits, underscores and hyphens")
        for (space, name), other in ENDPOINTS.items():
            if space == namespace.id and other["owner"] != owner:
                if name == discovery:
                    return refused(f"SC service {discovery} is already used")
                if (other["host"], other["port"]) == (alias.get("dnsName", discovery), alias["port"]):
                    return refused(f"The client alias {alias} is already used")
    return None


def namespace_of(region, connect):
    wanted = connect.get("namespace", "")
    return next((one for one in cloud_map(region).namespaces.values() if wanted in (one.arn, one.name)), None)


def deploy(region, owner, connect, listen=None):
    """Creates the endpoints of a configuration, deletes those that it no longer has, and returns what the new tasks see."""
    with LOCK:
        namespace = namespace_of(region, connect) if connect and connect.get("enabled") else None
        wanted = {}
        for one in connect.get("services", []) if namespace else []:
            discovery, alias = one.get("discoveryName", one["portName"]), one["clientAliases"][0]
            wanted[namespace.id, discovery] = {"owner": owner, "host": alias.get("dnsName", discovery), "port": alias["port"], "name": one["portName"], "region": region}
        for key in [key for key, one in ENDPOINTS.items() if one["owner"] == owner and key not in wanted]:
            forget(key)
        for key, endpoint in wanted.items():
            if key not in ENDPOINTS:
                made = cloud_map(region).create_service(key[1], key[0], "ecs", "", None, None, None, [], "HTTP")
                endpoint.update(id=made.id, server=listen and listen(key[0], endpoint))
                ENDPOINTS[key] = endpoint
        seen = {one["host"]: ADDRESSES.get((key[0], one["host"])) for key, one in ENDPOINTS.items() if namespace and key[0] == namespace.id}
        CURRENT[owner] = {"connect": connect, "hosts": {host: address for host, address in seen.items() if address}}
        return CURRENT[owner]


def forget(key):
    endpoint = ENDPOINTS.pop(key)
    cloud_map(endpoint["region"]).delete_service(endpoint["id"])
    if endpoint["server"]:
        threading.Thread(target=endpoint["server"].shutdown, daemon=True).start()
        endpoint["server"].server_close()


def delete(owner):
    """Deletes the endpoints of a deleted service."""
    with LOCK:
        for key in [key for key, one in ENDPOINTS.items() if one["owner"] == owner]:
            forget(key)
        CURRENT.pop(owner, None)


def forget_addresses(namespace):
    with LOCK:
        for key in [key for key in ADDRESSES if key[0] == namespace]:
            ADDRESSES.pop(key)
            network = NETWORKS.pop(key, None)
            if network:
                network.remove()


# Where containers run.

NETWORKS = {}  # Docker networks, by namespace id and host name


def address(docker, namespace, host):
    """Returns the address of a host name: the gateway of a Docker network of its own."""
    from docker.errors import APIError
    from docker.types import IPAMConfig, IPAMPool

    if (namespace, host) not in ADDRESSES:
        for _ in range(50):
            third, fourth = random.randrange(256), random.randrange(0, 256, 8)
            subnet, gateway = f"10.231.{third}.{fourth}/29", f"10.231.{third}.{fourth + 1}"
            name = f"local-aws-{os.getpid()}-{namespace}-{host}"[:120]
            try:
                pool = IPAMConfig(pool_configs=[IPAMPool(subnet=subnet, gateway=gateway)])
                NETWORKS[namespace, host] = docker.networks.create(name, ipam=pool, labels={"local-aws": str(os.getpid())})
            except APIError as said:
                # Another local AWS has it.
                if "overlap" in str(said):
                    continue
                raise
            ADDRESSES[namespace, host] = gateway
            break
    return ADDRESSES[namespace, host]


def remove_leftovers(docker):
    """Deletes the networks of a local AWS that no longer runs."""
    for network in docker.networks.list(filters={"label": "local-aws"}):
        pid = (network.attrs.get("Labels") or {}).get("local-aws", "")
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            network.remove()


class Proxy(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

    def __init__(self, place, targets):
        self.targets = targets
        super().__init__(place, Connection)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        """A connection that breaks is not an error of the proxy."""


class Connection(socketserver.BaseRequestHandler):
    def handle(self):
        targets = self.server.targets()
        random.shuffle(targets)
        for target in targets:
            try:
                server = socket.create_connection(target, timeout=2)
            except OSError:
                continue
            server.settimeout(None)
            back = threading.Thread(target=carry, args=(server, self.request), daemon=True)
            back.start()
            carry(self.request, server)
            back.join()
            return server.close()


def carry(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def in_ministack(ask, ecs):
    """Returns the handlers of ECS's calls for ministack, whose tasks are containers."""
    docker = ecs._get_docker()
    if docker:
        remove_leftovers(docker)

    def targets(endpoint):
        cluster, service = endpoint["owner"]
        found = []
        for task in list(ecs._tasks.values()):
            if task.get("group") != f"service:{service}" or task.get("lastStatus") != "RUNNING" or not task["clusterArn"].endswith(f"cluster/{cluster}"):
                continue
            definition = ecs._task_defs[ecs._resolve_td_key(task["taskDefinitionArn"])]
            # Containers start in the order of their dependencies, so they are told apart by name.
            started = [docker.containers.get(id) for id in task.get("_docker_ids", [])]
            for container in definition["containerDefinitions"]:
                one = next((one for one in started if one.name.endswith(f"-{container['name']}")), None)
                for port in container.get("portMappings", []) if one else []:
                    if port.get("name") == endpoint["name"]:
                        found.append((next(iter(one.attrs["NetworkSettings"]["Networks"].values()))["IPAddress"], port["containerPort"]))
        return [one for one in found if one[0]]

    def listen(namespace, endpoint):
        return Proxy((address(docker, namespace, endpoint["host"]), endpoint["port"]), lambda: targets(endpoint)) if docker else None

    def port_names(request, service):
        key = ecs._resolve_td_key(request.get("taskDefinition") or service["taskDefinition"])
        definition = ecs._task_defs.get(key, {"containerDefinitions": []})
        return {port.get("name") for one in definition["containerDefinitions"] for port in one.get("portMappings", [])}

    async def change_service(app, call):
        request, region = json.loads(call.body), region_of(call)
        owner = (request["cluster"].rsplit("/", 1)[-1], (request.get("serviceName") or request["service"]).rsplit("/", 1)[-1])
        service = ecs._services.get("/".join(owner), {})
        before = CURRENT.get(owner, {}).get("connect") if service.get("status") == "ACTIVE" else None
        connect = request.get("serviceConnectConfiguration", before)
        if connect and connect.get("enabled") and (said := check(region, owner, connect, port_names(request, service))):
            return said
        deploys = connect != before or request.get("forceNewDeployment") or request.get("taskDefinition") not in (None, service.get("taskDefinition")) or local_services.starts_deployment(service, request)
        if deploys:
            # A changed configuration starts a deployment.
            if call.operation == "UpdateService":
                request["forceNewDeployment"] = True
            current = deploy(region, owner, connect, listen)
        status, headers, body = await ask(app, call.asking(call.operation, request))
        if deploys and status == 200:
            deployment = ecs._services["/".join(owner)]["deployments"][0]
            DEPLOYMENTS[deployment["id"]] = current
            if connect:
                deployment["serviceConnectConfiguration"] = connect
        return status, headers, body

    async def delete_service(app, call):
        request = json.loads(call.body)
        status, headers, body = await ask(app, call)
        if status == 200:
            delete((request["cluster"].rsplit("/", 1)[-1], request["service"].rsplit("/", 1)[-1]))
        return status, headers, body

    async def create_cluster(app, call):
        # ministack loses the default namespace of a new cluster.
        request = json.loads(call.body)
        status, headers, body = await ask(app, call)
        if status == 200 and "serviceConnectDefaults" in request:
            ecs._clusters[request["clusterName"]]["serviceConnectDefaults"] = request["serviceConnectDefaults"]
        return status, headers, body

    return {
        ("ecs", "CreateCluster"): create_cluster,
        ("ecs", "CreateService"): change_service,
        ("ecs", "UpdateService"): change_service,
        ("ecs", "DeleteService"): delete_service,
    }


def hosts(ecs, task_arn):
    """Returns the names that a task of ministack sees, with their addresses."""
    task = ecs._tasks.get(task_arn, {})
    group, cluster = task.get("group", ""), task.get("clusterArn", "").rsplit("/", 1)[-1]
    if not group.startswith("service:"):
        return {}
    owner = (cluster, group.removeprefix("service:"))
    service = ecs._services.get("/".join(owner))
    deployment = service and ecs._deployment_for_task(service, task)
    if not deployment:
        return {}
    # The first tasks start before the answer of the call that deploys them.
    return DEPLOYMENTS.setdefault(deployment["id"], CURRENT.get(owner, {"hosts": {}}))["hosts"]


def in_moto(region, request, deployed, port_names):
    """Does ECS's part for a request to moto. Returns a refusal, and whether the request starts a deployment."""
    owner = (request["cluster"].rsplit("/", 1)[-1], request.get("serviceName") or request["service"])
    before = deployed.get("serviceConnectConfiguration")
    connect = request.get("serviceConnectConfiguration", before)
    if connect and connect.get("enabled") and (said := check(region, owner, connect, port_names)):
        return said, False
    if connect != before:
        deploy(region, owner, connect or {})
    return None, connect != before
