"""The local AWS of the demo and the tests, on one port.

    python local_aws.py ministack 4566      ministack, which runs containers; moto for what it lacks
    python local_aws.py moto 4567           moto alone, which is stricter but runs no containers

The tools are written for AWS. What an emulator lacks is added here, each with its reason, and never
in the tools.
"""

import asyncio
import gc
import json
import os
import random
import re
import sys
import threading
import time
import urllib.parse
from collections import defaultdict
from datetime import UTC, datetime
from functools import cache, partial

KIND, PORT = sys.argv[1], int(sys.argv[2])
os.environ.update(BIND_HOST="127.0.0.1", GATEWAY_PORT=str(PORT), SFTP_ENABLED="0", IOT_MTLS_ENABLED="0")
os.environ.update(MOTO_IAM_LOAD_MANAGED_POLICIES="true", MOTO_ACCOUNT_ID="000000000000")

import uvicorn  # noqa: E402
from hypercorn.app_wrappers import WSGIWrapper  # noqa: E402
from moto.server import DomainDispatcherApplication, create_backend_app  # noqa: E402

import local_agents  # noqa: E402
import local_health  # noqa: E402
import local_images  # noqa: E402
import local_network  # noqa: E402
import local_services  # noqa: E402
import local_volumes  # noqa: E402
import local_service_connect as service_connect  # noqa: E402

MOTO_WSGI = DomainDispatcherApplication(create_backend_app)


def with_a_body(environ, start_response):
    """Answers as moto. hypercorn never sends an answer without a body, such as a 204."""
    return list(MOTO_WSGI(environ, start_response)) or [b""]


async def run_moto(scope, receive, send):
    """Runs a call of moto at once: it takes a millisecond, and threads would wait for each other."""

    async def at_once(act, environ, _):
        said = []
        act(environ, said.append)
        for message in said:
            await send(message)

    await WSGIWrapper(with_a_body, max_body_size=2**16)(scope, receive, send, at_once, print)


class Call:
    """One API call: its service, its operation and its content."""

    def __init__(self, scope, body):
        self.scope, self.body = scope, body
        headers = {k.decode().lower(): v.decode() for k, v in scope["headers"]}
        target = headers.get("x-amz-target", "")
        credential = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/", headers.get("authorization", ""))
        self.form = dict(urllib.parse.parse_qsl(body.decode("utf-8", "replace"))) if not target else {}
        self.service = credential[1] if credential else ""
        self.operation = target.rsplit(".", 1)[-1] or scope["path"].partition("/operation/")[2] or self.form.get("Action", "")

    def like(self, **form):
        """Returns a call with another form, of the same caller and region."""
        body = urllib.parse.urlencode(form).encode()
        headers = [(k, v) for k, v in self.scope["headers"] if k.lower() != b"content-length"]
        return Call({**self.scope, "headers": [*headers, (b"content-length", str(len(body)).encode())]}, body)

    def asking(self, operation, request):
        """Returns a call of another operation of the same JSON service."""
        body = json.dumps(request).encode()
        other = {b"content-length": str(len(body)).encode()}
        if target := dict(self.scope["headers"]).get(b"x-amz-target"):
            other[b"x-amz-target"] = target.rpartition(b".")[0] + b"." + operation.encode()
        headers = [(k, other.get(k.lower(), v)) for k, v in self.scope["headers"]]
        return Call({**self.scope, "headers": headers}, body)


async def ask(app, call):
    """Sends a call to an emulator and returns its answer: status, headers, body."""
    told, answer = False, {"headers": [], "body": b""}

    async def receive():
        nonlocal told
        if told:
            return {"type": "http.disconnect"}
        told = True
        return {"type": "http.request", "body": call.body, "more_body": False}

    async def send(message):
        if message["type"] == "http.response.start":
            answer.update(status=message["status"], headers=message.get("headers", []))
        elif message["type"] == "http.response.body":
            answer["body"] += message.get("body", b"")

    await app(call.scope, receive, send)
    return answer["status"], answer["headers"], answer["body"]


def xml(call, inner=""):
    body = f'<{call.operation}Response><{call.operation}Result>{inner}</{call.operation}Result></{call.operation}Response>'.encode()
    return 200, [(b"content-type", b"text/xml")], body


async def from_moto(_, call):
    return await ask(run_moto, call)


async def from_ministack(_, call):
    return await ask(ministack_app(), call)


async def nothing_to_do(_, call):
    return xml(call)


async def with_tags(app, call):
    """Keeps tags. Both emulators lose those of security groups, ministack also those of flow logs."""
    status, headers, body = await ask(app, call)
    made = re.search(rb">((?:sg|fl)-\w+)<", body)
    tags = {k.split("TagSpecification.1.")[1]: v for k, v in call.form.items() if k.startswith("TagSpecification.1.Tag.")}
    if status == 200 and made and tags:
        await ask(app, call.like(Action="CreateTags", Version=call.form["Version"], **{"ResourceId.1": made[1].decode()}, **tags))
    return status, headers, body


SERVICES = {}  # the requests for moto's ECS services, by cluster and name


async def keep_service(app, call):
    """Keeps the request. moto's ECS services lose half of its fields, which AWS returns."""
    request = json.loads(call.body)
    key = (request["cluster"], request.get("serviceName") or request["service"])
    if call.operation == "CreateService":
        SERVICES.pop(key, None)
    known = {**SERVICES.get(key, {}), **request}
    refused, deploys = service_connect.in_moto(service_connect.region_of(call), request, SERVICES.get(key, {}), port_names(known))
    if refused:
        return refused
    if deploys and call.operation == "UpdateService":
        request["forceNewDeployment"] = True
    status, headers, body = await ask(app, call.asking(call.operation, request))
    if status == 200:
        SERVICES.setdefault(key, {}).update(request)
    return status, headers, body


def port_names(request):
    """Returns the names of the ports in the task definition of a request to moto."""
    from moto.ecs.models import ecs_backends

    family, _, revision = request["taskDefinition"].rsplit("/", 1)[-1].partition(":")
    found = [one[int(revision)] for region in ecs_backends[service_connect.ACCOUNT].values() if (one := region.task_definitions.get(family)) and int(revision) in one]
    return {port.get("name") for one in found for container in one.container_definitions for port in container.get("portMappings", [])}


async def with_reservation(app, call):
    """Accepts containers that have only a reservation of memory. moto refuses them on EC2, AWS does not."""
    from moto.ecs.models import ecs_backends

    request = json.loads(call.body)
    launch_types = request.pop("requiresCompatibilities") if request.get("requiresCompatibilities") == ["EC2"] else None
    status, headers, body = await ask(app, call.asking(call.operation, request))
    if status == 200 and launch_types:
        answer = json.loads(body)
        answer["taskDefinition"]["requiresCompatibilities"] = launch_types
        body = json.dumps(answer).encode()
        revision = ecs_backends[service_connect.ACCOUNT][service_connect.region_of(call)].describe_task_definition(answer["taskDefinition"]["taskDefinitionArn"])
        revision.requires_compatibilities = launch_types
    return status, headers, body


async def forget_service(app, call):
    """Deletes the endpoints of a deleted service."""
    request = json.loads(call.body)
    status, headers, body = await ask(app, call)
    if status == 200:
        SERVICES.pop((request["cluster"], request["service"]), None)
        service_connect.delete((request["cluster"], request["service"]))
    return status, headers, body


async def with_service_fields(app, call):
    status, headers, body = await ask(app, call)
    answer, cluster = json.loads(body), json.loads(call.body).get("cluster")
    for service in answer.get("services", []):
        asked = SERVICES.get((cluster, service["serviceName"]), {})
        kept = ("deploymentConfiguration", "capacityProviderStrategy", "healthCheckGracePeriodSeconds", "networkConfiguration", "propagateTags")
        service.update({key: asked[key] for key in kept if key in asked})
        for deployment in service.get("deployments", [])[:1]:
            deployment.update({key: asked[key] for key in ["serviceConnectConfiguration"] if key in asked})
    return status, headers, json.dumps(answer).encode()


ONE_AT_A_TIME = asyncio.Lock()
ANSWERS = {}  # the requests and answers of calls with a token


async def by_token(app, call):
    """Adds client tokens, which both emulators lack.

    AWS returns the same answer for the same token, and refuses a token with another request.
    """
    token = call.form.get("ClientToken")
    async with ONE_AT_A_TIME:
        asked, answer = ANSWERS.get((call.operation, token), (call.form, None))
        if asked == call.form:
            answer = answer or await ask(app, call)
            if token and answer[0] == 200:
                ANSWERS[call.operation, token] = call.form, answer
            return answer
    error = "<Error><Code>IdempotentParameterMismatch</Code><Message>Wrong arguments for request with token</Message></Error>"
    return 400, [(b"content-type", b"text/xml")], f"<Response><Errors>{error}</Errors></Response>".encode()


async def only_one(app, call, describe, there, code):
    """Refuses to create a second resource, which moto allows."""
    async with ONE_AT_A_TIME:
        _, _, body = await ask(app, call.like(Version=call.form["Version"], **describe))
        # The port to which a listener redirects is none on which it listens.
        body = re.sub(b"<RedirectConfig>.*?</RedirectConfig>", b"", body, flags=re.S)
        if there.encode() not in body:
            return await ask(app, call)
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>The resource already exists</Message></Error>"
    return 400, [(b"content-type", b"text/xml")], f"<ErrorResponse>{error}</ErrorResponse>".encode()


async def one_listener_a_port(app, call):
    """Allows one listener on a port. moto accepts a second one, AWS refuses it."""
    describe = {"Action": "DescribeListeners", "LoadBalancerArn": call.form["LoadBalancerArn"]}
    return await only_one(app, call, describe, f"<Port>{call.form['Port']}</Port>", "DuplicateListener")


async def one_balancer_a_name(app, call):
    """Allows one load balancer of a name. moto accepts a second one, AWS refuses it."""
    name = call.form["Name"]
    return await only_one(app, call, {"Action": "DescribeLoadBalancers"}, f"<LoadBalancerName>{name}</LoadBalancerName>", "DuplicateLoadBalancerName")


async def task_by_token(app, call):
    """Adds the client tokens of RunTask, which both emulators lack.

    AWS returns the task of the first call for a token, also when the task has stopped. A token with
    another request is refused. AWS also names the group of a task after its family.
    """
    request = json.loads(call.body)
    token, family = request.get("clientToken"), request["taskDefinition"].rsplit("/", 1)[-1].split(":")[0]
    call = call.asking("RunTask", {"group": f"family:{family}", **request})
    async with ONE_AT_A_TIME:
        asked, answer = ANSWERS.get((call.operation, request.get("cluster"), token), (request, None))
        if asked == request:
            answer = answer or await ask(app, call)
            if token and answer[0] == 200 and json.loads(answer[2]).get("tasks"):
                ANSWERS[call.operation, request.get("cluster"), token] = request, answer
            return answer
    said = {"__type": "ConflictException", "message": "The provided clientToken is already in use with a different RunTask request."}
    return 400, [(b"content-type", b"application/x-amz-json-1.1")], json.dumps(said).encode()


async def image_or_error(app, call):
    """Returns ImageNotFoundException as AWS does. ministack answers with an empty list."""
    status, headers, body = await ask(app, call)
    request = json.loads(call.body)
    if status != 200 or not request.get("imageIds") or json.loads(body).get("imageDetails"):
        return status, headers, body
    said = {"__type": "ImageNotFoundException", "message": f"The image requested does not exist in the repository {request['repositoryName']}"}
    return 400, [(b"content-type", b"application/x-amz-json-1.1")], json.dumps(said).encode()


TAGS = {}  # of scalable targets, by ARN


async def keep_tags(app, call):
    """Keeps the tags of scalable targets, which moto loses.

    AWS accepts no tags for a target that exists already.
    """
    request = json.loads(call.body)
    if request.get("Tags"):
        look = {"ServiceNamespace": request["ServiceNamespace"], "ResourceIds": [request["ResourceId"]]}
        _, _, found = await ask(run_moto, call.asking("DescribeScalableTargets", look))
        if json.loads(found)["ScalableTargets"]:
            said = {"__type": "ValidationException", "message": "The scalable target that you tried to tag already exists."}
            return 400, [(b"content-type", b"application/x-amz-json-1.1")], json.dumps(said).encode()
    status, headers, body = await ask(run_moto, call)
    if status == 200:
        TAGS.setdefault(json.loads(body)["ScalableTargetARN"], {}).update(request.get("Tags") or {})
    return status, headers, body


async def kept_tags(app, call):
    request = json.loads(call.body)
    tags = TAGS.setdefault(request["ResourceARN"], {})
    tags.update(request.get("Tags") or {})
    for key in request.get("TagKeys") or []:
        tags.pop(key, None)
    answer = {"Tags": tags} if call.operation == "ListTagsForResource" else {}
    return 200, [(b"content-type", b"application/x-amz-json-1.1")], json.dumps(answer).encode()


async def not_found(app, call):
    """Returns ObjectNotFoundException as AWS does. moto returns ValidationException."""
    status, headers, body = await ask(run_moto, call)
    if b"No scal" not in body:
        return status, headers, body
    put = [(k, v.replace(b"ValidationException", b"ObjectNotFoundException")) for k, v in headers]
    return status, put, body.replace(b"ValidationException", b"ObjectNotFoundException")


# With both emulators, Application Auto Scaling is moto's.
SCALING_LACKS = {
    ("application-autoscaling", "DeregisterScalableTarget"): not_found,
    ("application-autoscaling", "DeleteScalingPolicy"): not_found,
    ("application-autoscaling", "RegisterScalableTarget"): keep_tags,
    ("application-autoscaling", "ListTagsForResource"): kept_tags,
    ("application-autoscaling", "TagResource"): kept_tags,
    ("application-autoscaling", "UntagResource"): kept_tags,
}
# What ministack lacks, by (service, operation).
MINISTACK_LACKS = {
    **SCALING_LACKS,
    **service_connect.with_cloud_map(from_moto),
    ("application-autoscaling", "*"): from_moto,
    ("ec2", "CreateNatGateway"): by_token,
    ("ec2", "CreateRouteTable"): by_token,
    ("ec2", "CreateVpcEndpoint"): by_token,
    ("ec2", "DescribeInstanceTypeOfferings"): from_moto,
    ("ec2", "CreateFlowLogs"): with_tags,
    ("ec2", "CreateSecurityGroup"): with_tags,
    **local_agents.handlers(ask),
    # ministack's groups protect no instance, so there is no protection to remove.
    ("autoscaling", "SetInstanceProtection"): nothing_to_do,
    ("ecs", "RunTask"): task_by_token,
    ("ecr", "DescribeImages"): image_or_error,
}
MOTO_LACKS = {
    **local_network.handlers(ask),
    **local_agents.handlers(ask),
    **service_connect.with_cloud_map(from_moto),
    ("ecs", "CreateService"): keep_service,
    ("ecs", "UpdateService"): keep_service,
    ("ecs", "RegisterTaskDefinition"): with_reservation,
    ("ecs", "DeleteService"): forget_service,
    ("ecs", "DescribeServices"): with_service_fields,
    ("ecs", "RunTask"): task_by_token,
    **SCALING_LACKS,
    ("ec2", "CreateNatGateway"): by_token,
    ("ec2", "CreateRouteTable"): by_token,
    ("ec2", "CreateVpcEndpoint"): by_token,
    ("elasticloadbalancing", "CreateListener"): one_listener_a_port,
    ("elasticloadbalancing", "CreateLoadBalancer"): one_balancer_a_name,
    # moto's CloudWatch does not have the protocol of the SDK (CBOR).
    ("monitoring", "*"): from_ministack,
    ("ec2", "CreateSecurityGroup"): with_tags,
}


# moto loses the capacity provider strategy of services.
local_agents.DESCRIBE_SERVICES[0] = with_service_fields if KIND == "moto" else None


def local_aws(app, lacks):
    """Returns the emulator together with what it lacks."""

    async def serve_one(scope, receive, send):
        # Only API calls are read, not the registry (/v2/), the load balancer, or the start and stop
        # of the server itself.
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"].startswith(("/v2/", "/_alb/")):
            return await app(scope, receive, send)
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        call = Call(scope, body)
        handle = lacks.get((call.service, call.operation)) or lacks.get((call.service, "*"))
        status, headers, answer = await (handle(app, call) if handle else ask(app, call))
        headers = [(k, v) for k, v in headers if k.lower() != b"content-length"]
        await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"content-length", str(len(answer)).encode())]})
        await send({"type": "http.response.body", "body": answer})

    return serve_one


@cache
def ministack_app():
    """Returns ministack, corrected where a call can't be corrected before or after it."""
    from moto.applicationautoscaling.exceptions import AWSValidationException
    from moto.applicationautoscaling.models import ApplicationAutoscalingBackend
    from ministack.app import app
    from ministack.services import alb, autoscaling, cloudwatch, cloudwatch_logs, ec2, ecs, efs, ssm

    # ministack reports a new service's first deployment as complete before it begins. On AWS it is
    # in progress.
    make_deployment = ecs._make_deployment

    def begin(task_definition, desired, status="PRIMARY"):
        deployment = make_deployment(task_definition, desired, status)
        if desired:
            deployment.update(rolloutState="IN_PROGRESS", rolloutStateReason="ECS deployment in progress.")
        return deployment

    ecs._make_deployment = begin

    # A service's own call and the check of an earlier service of the same name may reconcile its
    # tasks at the same time, and each would start one. ECS starts as many as it should.
    reconcile, one_at_a_time = ecs._reconcile_service_tasks, defaultdict(threading.RLock)

    def reconcile_alone(cluster, key):
        with one_at_a_time[key]:
            return reconcile(cluster, key)

    ecs._reconcile_service_tasks = reconcile_alone

    # A thread a task inspects its containers ten times a second, and the Docker Engine has no time for the tests.
    inspect, inspected = ecs._maybe_mark_stopped, {}

    def inspect_less(task, docker_client=None):
        now = time.monotonic()
        if now - inspected.get(task["taskArn"], 0) > 0.4:
            inspected[task["taskArn"]] = now
            inspect(task, docker_client)

    ecs._maybe_mark_stopped = inspect_less

    # ministack's times have whole seconds. Those of AWS have milliseconds, so that it can be said
    # whether a deployment began before or after an endpoint was created.
    ecs._iso = lambda: datetime.now(UTC).isoformat()
    ecs._ts_to_epoch = lambda value: datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp() if isinstance(value, str) else value

    # A task that ends within this many seconds counts as failed. The default of one second is too
    # short under load.
    ecs._ECS_DEPLOYMENT_STEADY_DELAY = 2.0

    # ECS has endpoints, too, and an endpoint has security groups.
    ec2._VPCE_INTERFACE_SERVICES += ("ecs", "ecs-agent", "ecs-telemetry")
    fields = ec2._vpce_fields_xml

    def fields_with_groups(endpoint, tag="item"):
        groups = "".join(f"<item><groupId>{id}</groupId></item>" for id in endpoint.get("Groups", []))
        return fields(endpoint, tag).replace("<subnetIdSet>", f"<groupSet>{groups}</groupSet><subnetIdSet>")

    def with_groups(create, form):
        before = set(ec2._vpc_endpoints)
        answer = create(form)
        for id in set(ec2._vpc_endpoints) - before:
            ec2._vpc_endpoints[id]["Groups"] = ec2._parse_member_list(form, "SecurityGroupId")
        return answer

    ec2._vpce_fields_xml = fields_with_groups
    change_operation(ec2, "CreateVpcEndpoint", with_groups)

    # ministack has no Service Connect.
    MINISTACK_LACKS.update(service_connect.in_ministack(ask, ecs))

    # The name of a task's image has ECR's host, which is AWS's own. Here the registry is this port.
    run_container = ecs._run_docker_container

    def run_from_here(client, container, kwargs, **more):
        image = re.sub(r"^\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/", f"127.0.0.1:{PORT}/", container["image"])
        names = service_connect.hosts(ecs, kwargs["labels"]["com.amazonaws.ecs.task-arn"])
        if names and kwargs.get("network_mode") != "host":
            kwargs["extra_hosts"] = {**kwargs.get("extra_hosts", {}), **names}
        return run_container(client, {**container, "image": image}, kwargs, **more)

    ecs._run_docker_container = run_from_here

    local_images.in_ministack()

    # Rules and services as strict as those of AWS.
    local_services.in_ministack(ecs, alb)
    MINISTACK_LACKS.update(local_services.keys_of_log_groups(cloudwatch_logs))
    local_agents.in_ministack(autoscaling, ec2, change_operation)

    # ministack's EFS has no files, and its tasks have no order of containers.
    local_volumes.in_ministack(ecs, efs, ssm)

    # ministack registers all tasks of a service in its newest target group. On AWS a task keeps the
    # target group with which its deployment was started.
    def sync_targets(cluster, service):
        balancers = service.setdefault("_balancers_of", {})
        if primary := ecs._primary_deployment(service):
            balancers.setdefault(primary["id"], service.get("loadBalancers") or [])
        tasks = [
            task
            for task in list(ecs._tasks.values())
            if task.get("group") == f"service:{service['serviceName']}" and task.get("clusterArn") == service.get("clusterArn")
        ]
        running = [task for task in tasks if task.get("lastStatus") == "RUNNING" and service.get("status") == "ACTIVE"]
        wanted = {balancer["targetGroupArn"]: [] for all in balancers.values() for balancer in all}
        for task in running:
            for balancer in balancers.get(task.get("_deployment_id"), []):
                wanted[balancer["targetGroupArn"]].append((ecs._task_ip(task), balancer.get("containerPort", 80)))
        before = service.setdefault("_published_targets", {})
        for group, targets in wanted.items():
            targets = [(ip, port) for ip, port in targets if ip]
            alb.set_targets_for_group(group, targets, before.get(group, ()))
            before[group] = [ip for ip, _ in targets]

    ecs._sync_service_targets = sync_targets

    # ministack calls every target healthy.
    local_health.in_ministack(alb, ecs)

    # ministack has no weighted target groups.
    parse_actions, action_xml, execute_action = alb._parse_actions, alb._action_xml, alb._execute_action

    def parse_weighted(params, prefix="DefaultActions"):
        actions = parse_actions(params, prefix)
        for i, action in enumerate(actions, 1):
            group, groups = f"{prefix}.member.{i}.ForwardConfig.TargetGroups.member.", []
            while arn := alb._p(params, f"{group}{len(groups) + 1}.TargetGroupArn"):
                groups.append((arn, int(alb._p(params, f"{group}{len(groups) + 1}.Weight", "1"))))
            if groups:
                action["Weighted"] = groups
        return actions

    def weighted_xml(action):
        groups = "".join(f"<member><TargetGroupArn>{arn}</TargetGroupArn><Weight>{weight}</Weight></member>" for arn, weight in action.get("Weighted", []))
        config = f"<ForwardConfig><TargetGroups>{groups}</TargetGroups></ForwardConfig>" if groups else ""
        return action_xml(action).replace("</member>", f"{config}</member>", 1)

    async def execute_weighted(action, *more):
        if groups := action.get("Weighted"):
            action = {**action, "TargetGroupArn": random.choices([arn for arn, _ in groups], [weight for _, weight in groups])[0]}
        return await execute_action(action, *more)

    alb._parse_actions, alb._action_xml, alb._execute_action = parse_weighted, weighted_xml, execute_weighted

    # ministack's load balancers lack the VPC of their subnets.
    lb_xml = alb._lb_xml
    alb._lb_xml = lambda balancer: lb_xml({**balancer, "VpcId": ec2._subnets.get(next(iter(balancer["Subnets"]), ""), {}).get("VpcId", "")})

    # ministack loses managedDraining, which AWS returns.
    def keep_draining(act, data):
        draining = (data.get("autoScalingGroupProvider") or {}).get("managedDraining")
        answer = act(data)
        if draining and (provider := ecs._capacity_providers.get(data.get("name"))):
            provider["autoScalingGroupProvider"]["managedDraining"] = draining
        return answer

    change_operation(ecs, "CreateCapacityProvider", keep_draining)
    change_operation(ecs, "UpdateCapacityProvider", keep_draining)

    # ministack's alarms lose their metric math.
    put_alarm = cloudwatch._put_metric_alarm

    def keep_metrics(params, data, *more):
        answer = put_alarm(params, data, *more)
        if data and data.get("Metrics") and (alarm := cloudwatch._alarms.get(data.get("AlarmName"))):
            alarm["Metrics"] = data["Metrics"]
        return answer

    cloudwatch._put_metric_alarm = keep_metrics

    # Application Auto Scaling is moto's, but the ECS services are ministack's.
    def exists(_, resource_id):
        if resource_id.removeprefix("service/") not in ecs._services:
            raise AWSValidationException(f"ECS service doesn't exist: {resource_id}")
        return True

    if KIND == "ministack":
        ApplicationAutoscalingBackend._ecs_service_exists_for_target = exists
    return app


@cache
def moto_app():
    """Returns moto, corrected where a call can't be corrected before or after it."""
    import moto.backends
    import moto.core.responses
    from moto.ec2.exceptions import ResourceAlreadyAssociatedError
    from moto.ec2.models import EC2Backend
    from moto.ec2.models.core import TaggedEC2Resource
    from moto.ec2.models.vpcs import VPCBackend
    from moto.ecs.models import EC2ContainerServiceBackend
    from moto.efs.exceptions import EFSError
    from moto.efs.models import EFSBackend
    from moto.efs.responses import EFSResponse
    from moto.logs.models import LogsBackend

    # moto lists its own folders and its classes' methods for every call, which takes a quarter of its time.
    modules = tuple(moto.backends.list_of_moto_modules())
    moto.backends.list_of_moto_modules = lambda: modules
    moto.core.responses.method_names_from_class = cache(moto.core.responses.method_names_from_class)

    # moto looks for the tags of a resource among those of all resources, which takes a fifth of its time.
    def own_tags(self):
        tags = self.ec2_backend.tags.get(self.id, {}) if self.id else {}
        return [{"resource_id": self.id, "key": key, "value": value} for key, value in tags.items()]

    TaggedEC2Resource.get_tags = own_tags

    # moto's deleted NAT gateways keep their addresses. AWS releases them.
    delete_nat = EC2Backend.delete_nat_gateway

    def let_go(self, nat_gateway_id):
        nat = delete_nat(self, nat_gateway_id)
        for address in self.addresses:
            if address.eni and address.eni is nat._eni:
                self.disassociate_address(association_id=address.association_id)
        return nat

    EC2Backend.delete_nat_gateway = let_go

    # moto accepts a subnet that is associated with another route table. AWS refuses it.
    associate = EC2Backend.associate_route_table

    def one_table_a_subnet(self, route_table_id, gateway_id=None, subnet_id=None):
        others = [table for id, table in self.route_tables.items() if id != route_table_id]
        if subnet_id and any(subnet_id in table._associations.values() for table in others):
            raise ResourceAlreadyAssociatedError(subnet_id)
        return associate(self, route_table_id, gateway_id, subnet_id)

    EC2Backend.associate_route_table = one_table_a_subnet

    # moto lists deleted resources for ever and becomes slow. AWS lists them for about an hour; here
    # it is until two more VPCs are deleted.
    delete_vpc, gone = EC2Backend.delete_vpc, []

    def outlive(self, vpc_id):
        vpc = delete_vpc(self, vpc_id)
        gone.append(vpc_id)
        if len(gone) > 2:
            last = gone.pop(0)
            for table in (self.nat_gateways, self.vpc_end_points, self.enis):
                for id in [id for id, one in table.items() if one.vpc_id == last]:
                    del table[id]
            alive = {*self.vpcs, *self.route_tables, *self.internet_gateways, *self.nat_gateways, *self.vpc_end_points, *gone}
            alive.update(id for nested in (self.subnets, self.groups) for table in nested.values() for id in table)
            alive.update(address.allocation_id for address in self.addresses)
            for id in [id for id in self.tags if re.match("(vpc|rtb|igw|nat|vpce|subnet|sg|eipalloc)-", id) and id not in alive]:
                del self.tags[id]
        return vpc

    EC2Backend.delete_vpc = outlive

    # moto writes a filter's values under another name than it reads them.
    filter_services = VPCBackend._filter_endpoint_services

    def filter_by_values(names, filters, services):
        return filter_services(names, [{"Value": one.get("Values", []), **one} for one in filters], services)

    VPCBackend._filter_endpoint_services = staticmethod(filter_by_values)

    # moto does not delete an endpoint if one of its route tables was deleted, or was added later.
    # On AWS the routes are deleted with their table.
    delete_endpoints = EC2Backend.delete_vpc_endpoints

    def delete_without_routes(self, vpce_ids=None):
        for endpoint in (self.vpc_end_points[id] for id in vpce_ids or [] if id in self.vpc_end_points):
            endpoint.route_table_ids = []
        delete_endpoints(self, vpce_ids)

    EC2Backend.delete_vpc_endpoints = delete_without_routes

    # moto gives a new log group the tags of a deleted log group of the same name.
    delete_group = LogsBackend.delete_log_group

    def forget(self, log_group_name):
        arn = self.groups[log_group_name].arn if log_group_name in self.groups else ""
        delete_group(self, log_group_name)
        self.tagger.delete_all_tags_for_resource(arn)

    LogsBackend.delete_log_group = forget

    # moto's EFS ignores client tokens. EFS refuses the second access point of a token.
    create_access_point = EFSBackend.create_access_point

    def once(self, client_token, *args, **kwargs):
        if any(point.client_token == client_token for point in self.access_points.values()):
            raise EFSError("AccessPointAlreadyExists", f"an access point with the client token {client_token} exists already")
        return create_access_point(self, client_token, *args, **kwargs)

    EFSBackend.create_access_point = once

    # moto can't delete the policy of a file system.
    def delete_file_system_policy(self):
        self.efs_backend.put_file_system_policy(self._get_param("FileSystemId"), "", False)
        return "{}", {"Content-Type": "application/json"}

    EFSResponse.delete_file_system_policy = delete_file_system_policy

    # moto wants a memory limit in each container on EC2. ECS takes a reservation alone, as moto's check for all launch types.
    check = EC2ContainerServiceBackend._validate_container_defs
    EC2ContainerServiceBackend._validate_container_defs = staticmethod(lambda memory, containers, _: check(memory, containers, None))
    local_agents.in_moto()
    return run_moto


def change_operation(module, name, change):
    """Replaces an operation in the module's table with `change`, which gets the old one."""
    table = next(value for value in vars(module).values() if isinstance(value, dict) and callable(value.get(name)))
    table[name] = partial(change, table[name])


def main():
    app, lacks = (ministack_app(), MINISTACK_LACKS) if KIND == "ministack" else (moto_app(), MOTO_LACKS)
    # Garbage is looked for less often: the modules of boto have a million objects.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)
    # With its parts in C, it takes less time than hypercorn, which ministack brings along.
    uvicorn.run(
        local_aws(app, lacks),
        host="127.0.0.1",
        port=PORT,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_level="warning",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        proxy_headers=False,
        server_header=False,
        date_header=False,
    )


if __name__ == "__main__":
    main()
