"""ECS services and rules of load balancers, where ministack is kinder than AWS."""

import json
import re
import time
from functools import wraps


def change_operation(module, name, change):
    """Replaces an operation in the module's table with `change`, which gets the old one."""
    table = next(value for value in vars(module).values() if isinstance(value, dict) and callable(value.get(name)))
    act = table[name]
    table[name] = wraps(act)(lambda data: change(act, data))


def in_ministack(ecs, alb):
    rules(alb)
    updates(ecs)
    deletions(ecs)


def rules(alb):
    """Refuses what Elastic Load Balancing refuses: a priority twice, and more than five values or six wildcards in a rule.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
    """

    def problem(params, listener, priority=None, own=None):
        values = [value for condition in alb._parse_conditions(params) for value in condition["Values"]]
        if len(values) > 5:
            return alb._error("TooManyConditionValues", f"A rule can have at most 5 condition values; found {len(values)}")
        if len(re.findall("[*?]", "".join(values))) > 6:
            return alb._error("TooManyWildcards", "A rule can have at most 6 condition wildcards")
        others = [rule for arn, rule in alb._rules.items() if rule["ListenerArn"] == listener and arn != own]
        if priority and any(rule["Priority"] == priority for rule in others):
            return alb._error("PriorityInUse", f"Priority '{priority}' is currently in use")

    def create(act, params):
        return problem(params, alb._p(params, "ListenerArn"), alb._p(params, "Priority")) or act(params)

    def modify(act, params):
        return problem(params, None) or act(params)

    def set_priorities(act, params):
        moved = {}
        while arn := alb._p(params, f"RulePriorities.member.{len(moved) + 1}.RuleArn"):
            moved[arn] = alb._p(params, f"RulePriorities.member.{len(moved) + 1}.Priority")
        listeners = {alb._rules[arn]["ListenerArn"] for arn in moved if arn in alb._rules}
        numbers = [moved.get(arn, rule["Priority"]) for arn, rule in alb._rules.items() if rule["ListenerArn"] in listeners and not rule["IsDefault"]]
        if len(numbers) != len(set(numbers)):
            return alb._error("PriorityInUse", "One of the priorities is currently in use")
        return act(params)

    change_operation(alb, "CreateRule", create)
    change_operation(alb, "ModifyRule", modify)
    change_operation(alb, "SetRulePriorities", set_priorities)


# Fields of a service that start a new deployment when they change, also with the same task definition.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
DEPLOYS = ("loadBalancers", "networkConfiguration", "platformVersion", "serviceRegistries")
# What ministack loses of an update.
LOST = ("propagateTags", "enableECSManagedTags", "placementConstraints", "placementStrategy", "availabilityZoneRebalancing", "serviceRegistries")


def starts_deployment(service, request):
    """Returns whether an update starts a deployment, also with the same task definition."""
    return any(field in request and (request[field] or None) != (service.get(field) or None) for field in DEPLOYS)


def updates(ecs):
    """Keeps fields that ministack loses, and refuses a network configuration that does not fit."""

    def update(act, data):
        key = f"{ecs._resolve_cluster_name(data.get('cluster', 'default'))}/{data.get('service', '').rsplit('/', 1)[-1]}"
        service = ecs._services.get(key)
        if not service:
            return act(data)
        definition = ecs._task_defs.get(ecs._resolve_td_key(data.get("taskDefinition") or service["taskDefinition"])) or {}
        network = data.get("networkConfiguration") or service.get("networkConfiguration")
        if network and definition.get("networkMode") != "awsvpc":
            return ecs.error_response_json("InvalidParameterException", "Network Configuration is not valid for the given networkMode of this task definition.", 400)
        answer = act(data)
        service.update({field: data[field] for field in LOST if field in data})
        return answer

    change_operation(ecs, "UpdateService", update)


# Seconds for which a deleted service is draining, and for which its tasks go on.
DRAINS, ENDS = 2.0, 2.5


def deletions(ecs):
    """Lets a deleted service drain, and its tasks stop after it is inactive, as on AWS. ministack ends all at once.

    Nothing lists a draining service, its name is taken, and a cluster with tasks can't be deleted.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteService.html
    """
    draining, ending = {}, {}

    def settle():
        now = time.monotonic()
        for key in [key for key, until in draining.items() if until < now]:
            del draining[key]
            if ecs._services.get(key, {}).get("status") == "DRAINING":
                ecs._services[key]["status"] = "INACTIVE"
        for arn in [arn for arn, until in ending.items() if until < now]:
            del ending[arn]
            if arn in ecs._tasks:
                ecs._tasks[arn]["lastStatus"] = "STOPPED"

    def settled(act, data):
        settle()
        return act(data)

    def delete(act, data):
        cluster, name = ecs._resolve_cluster_name(data.get("cluster", "default")), data.get("service", "").rsplit("/", 1)[-1]
        service = ecs._services.get(f"{cluster}/{name}")
        if not service or service["status"] != "ACTIVE":
            return act(data)
        of_service = [task for task in list(ecs._tasks.values()) if task.get("group") == f"service:{name}" and task.get("clusterArn") == service["clusterArn"]]
        alive = [task for task in of_service if task["lastStatus"] != "STOPPED"]
        answer = act(data)
        if service["status"] == "INACTIVE" and alive:
            service["status"] = "DRAINING"
            draining[f"{cluster}/{name}"] = time.monotonic() + DRAINS
            for task in alive:
                task["lastStatus"] = "DEPROVISIONING"
                ending[task["taskArn"]] = time.monotonic() + ENDS
        return answer

    def create(act, data):
        settle()
        if f"{ecs._resolve_cluster_name(data.get('cluster', 'default'))}/{data.get('serviceName')}" in draining:
            return ecs.error_response_json("InvalidParameterException", "Unable to Start a service that is still Draining.", 400)
        return act(data)

    def delete_cluster(act, data):
        settle()
        arn = ecs._clusters.get(ecs._resolve_cluster_name(data.get("cluster", "default")), {}).get("clusterArn")
        if any(task.get("clusterArn") == arn and task["lastStatus"] != "STOPPED" for task in list(ecs._tasks.values())):
            return ecs.error_response_json("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.", 400)
        return act(data)

    def families(act, data):
        # ALL means active and inactive; ministack knows no such status.
        if data.get("status") != "ALL":
            return act(data)
        definitions = list(ecs._task_defs.values())
        found = {one["family"] for one in definitions if one["status"] in ("ACTIVE", "INACTIVE") and one["family"].startswith(data.get("familyPrefix", ""))}
        return ecs.json_response({"families": sorted(found)})

    for operation in ("DescribeServices", "DescribeTasks", "ListTasks"):
        change_operation(ecs, operation, settled)
    change_operation(ecs, "DeleteService", delete)
    change_operation(ecs, "CreateService", create)
    change_operation(ecs, "DeleteCluster", delete_cluster)
    change_operation(ecs, "ListTaskDefinitionFamilies", families)


def keys_of_log_groups(logs):
    """Returns the handlers that change the key of a log group, which ministack lacks."""

    async def change(_, call):
        request = json.loads(call.body)
        group = logs._log_groups.get(request["logGroupName"])
        if not group:
            error = {"__type": "ResourceNotFoundException", "message": "The specified log group does not exist."}
            return 400, [(b"content-type", b"application/x-amz-json-1.1")], json.dumps(error).encode()
        group["kmsKeyId"] = request.get("kmsKeyId")
        return 200, [(b"content-type", b"application/x-amz-json-1.1")], b"{}"

    return {("logs", "AssociateKmsKey"): change, ("logs", "DisassociateKmsKey"): change}
