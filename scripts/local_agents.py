"""Auto Scaling and the ECS agents on its instances for the local AWS, as far as both emulators lack them.

An instance of a group boots for a moment. Then its agent registers with the cluster of its user
data, or ends for good when there is no cluster (aws/amazon-ecs-agent 4689). It belongs to a
capacity provider only when this is associated with the cluster at that time. A capacity provider
keeps the ARN of its group, and is kept in the cluster while services use it. Instances of a type
without quota do not start, and only the scaling activities say so.
"""

import asyncio
import base64
import copy
import json
import re
import uuid

ACCOUNT = "000000000000"
BOOT = 0.5  # seconds
AGENTS = {}  # by instance id: the group, and from its registration on the cluster and the capacity provider
TASKS = set()  # asyncio keeps no reference to a running task
REBALANCE = {}  # the setting CapacityRebalance by group name
FAILED = {}  # by group name: the launches that failed, the newest first
REFRESHES = {}  # the newest instance refresh by group name
QUOTA = "You have requested more vCPU capacity than your current vCPU limit of 0 allows for the instance bucket that the specified instance type belongs to."
NO_QUOTA = "p4d."  # new accounts may start no instances of these types


def error(code, message):
    body = json.dumps({"__type": code, "message": message}).encode()
    return 400, [(b"content-type", b"application/x-amz-json-1.1"), (b"x-amzn-errortype", code.encode())], body


def answer(value):
    return 200, [(b"content-type", b"application/x-amz-json-1.1")], json.dumps(value).encode()


def xml(operation, inner):
    space = 'xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"'
    body = f"<{operation}Response {space}><{operation}Result>{inner}</{operation}Result></{operation}Response>"
    return 200, [(b"content-type", b"text/xml")], body.encode()


def refused(code, message):
    return 400, [(b"content-type", b"text/xml")], f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>".encode()


def texts(body, tag):
    return re.findall(rf"<{tag}>([^<]*)</{tag}>", body)


def handlers(ask):
    """Returns the handlers of the calls that the agents change or serve."""

    def to(call, service, form=None, target=None, request=None):
        """Returns a call of another service, of the same caller and region."""
        headers = [(k, v) for k, v in call.scope["headers"] if k.lower() not in (b"content-length", b"content-type", b"x-amz-target", b"host")]
        headers = [(k, re.sub(rb"/[\w-]+/aws4_request", f"/{service}/aws4_request".encode(), v) if k.lower() == b"authorization" else v) for k, v in headers]
        headers.append((b"host", f"{service}.us-east-1.amazonaws.com".encode()))
        if target:
            headers += [(b"content-type", b"application/x-amz-json-1.1"), (b"x-amz-target", f"AmazonEC2ContainerServiceV20141113.{target}".encode())]
            body = json.dumps(request).encode()
        else:
            headers.append((b"content-type", b"application/x-www-form-urlencoded"))
            body = "&".join(f"{k}={v}" for k, v in form.items()).encode()
        headers.append((b"content-length", str(len(body)).encode()))
        return type(call)({**call.scope, "path": "/", "raw_path": b"/", "query_string": b"", "headers": headers}, body)

    async def ecs(app, call, target, request):
        status, _, body = await ask(app, to(call, "ecs", target=target, request=request))
        return json.loads(body) if status == 200 else {}

    async def groups(app, call, name=None):
        """Returns the groups: name, ARN, template and the ids of the instances."""
        form = {"Action": "DescribeAutoScalingGroups", "Version": "2011-01-01", **({"AutoScalingGroupNames.member.1": name} if name else {})}
        _, _, body = await ask(app, to(call, "autoscaling", form=form))
        found = []
        for part in body.decode().split("<AutoScalingGroupARN>")[1:]:
            arn = part.split("<")[0]
            found.append({"name": arn.rsplit("/", 1)[-1], "arn": arn, "template": texts(part, "LaunchTemplateName"), "instances": set(texts(part, "InstanceId"))})
        # Both emulators write the name before the ARN or after it.
        return [one for one in found if name in (None, one["name"])]

    async def template_of(app, call, group):
        """Returns the user data, the number and the instance type of the template's default version."""
        form = {"Action": "DescribeLaunchTemplateVersions", "Version": "2016-11-15", "LaunchTemplateName": (group["template"] or [group["name"]])[0], "LaunchTemplateVersion.1": "$Default"}
        _, _, body = await ask(app, to(call, "ec2", form=form))
        text = base64.b64decode((texts(body.decode(), "userData") or [""])[0]).decode("utf-8", "replace")
        return text, (texts(body.decode(), "versionNumber") or [""])[0], (texts(body.decode(), "instanceType") or [""])[0]

    async def cluster_of(app, call, name):
        found = (await ecs(app, call, "DescribeClusters", {"clusters": [name]})).get("clusters", [])
        return next((one for one in found if one["status"] == "ACTIVE"), None)

    async def provider_of(app, call, group, cluster):
        names = [name for name in cluster.get("capacityProviders") or [] if not name.startswith("FARGATE")]
        if not names:
            return None
        found = (await ecs(app, call, "DescribeCapacityProviders", {"capacityProviders": names})).get("capacityProviders", [])
        of_group = [one["name"] for one in found if (one.get("autoScalingGroupProvider") or {}).get("autoScalingGroupArn") == group["arn"]]
        return of_group[0] if of_group else None

    async def boot(app, call, id, group, text):
        await asyncio.sleep(BOOT)
        name = re.search(r'ECS_CLUSTER=(\S+)|cluster = "([^"]+)"', text)
        name = (name[1] or name[2]) if name else "default"
        cluster = await cluster_of(app, call, name)
        if id in AGENTS and cluster:
            provider = await provider_of(app, call, group, cluster)
            AGENTS[id].update(cluster=name, provider=provider, arn=cluster["clusterArn"].replace(":cluster/", ":container-instance/") + "/" + uuid.uuid4().hex)

    async def look(app, call, name):
        """Starts the agents of new instances of the group, and forgets those of ended ones."""
        found = await groups(app, call, name)
        alive = set().union(*(group["instances"] for group in found)) if found else set()
        for id in [id for id, agent in AGENTS.items() if agent["group"] == name and id not in alive]:
            del AGENTS[id]
        for group in found:
            text, version, _ = await template_of(app, call, group)
            for id in group["instances"] - set(AGENTS):
                AGENTS[id] = {"group": name, "version": version}
                later(boot(app, call, id, group, text))

    def later(work):
        task = asyncio.create_task(work)
        TASKS.add(task)
        task.add_done_callback(TASKS.discard)

    async def start_refresh(app, call):
        """Replaces the instances of another version one after another, as AWS does with SkipMatching."""
        name = call.form["AutoScalingGroupName"]
        if REFRESHES.get(name, {}).get("Status") == "InProgress":
            return refused("InstanceRefreshInProgress", "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.")
        one = REFRESHES[name] = {"InstanceRefreshId": uuid.uuid4(), "AutoScalingGroupName": name, "Status": "InProgress", "PercentageComplete": 0}
        later(refresh(app, call, name, one))
        return xml(call.operation, f"<InstanceRefreshId>{one['InstanceRefreshId']}</InstanceRefreshId>")

    async def refresh(app, call, name, one):
        group = (await groups(app, call, name))[0]
        _, version, kind = await template_of(app, call, group)
        old = [id for id in sorted(group["instances"]) if AGENTS.get(id, {}).get("version") != version]
        if call.form.get("Preferences.ScaleInProtectedInstances") != "Refresh":
            one.update(Status="Failed", StatusReason="The instances are protected from scale in.")
        elif old and no_quota(kind, name):
            one.update(Status="Failed", StatusReason="Launching EC2 instance failed: " + QUOTA)
        for i, id in enumerate(old if one["Status"] == "InProgress" else []):
            await asyncio.sleep(BOOT)
            form = {"Action": "TerminateInstanceInAutoScalingGroup", "Version": "2011-01-01", "InstanceId": id, "ShouldDecrementDesiredCapacity": "false"}
            await ask(app, to(call, "autoscaling", form=form))
            await look(app, call, name)
            one["PercentageComplete"] = 100 * (i + 1) // len(old)
        if one["Status"] == "InProgress":
            await asyncio.sleep(2 * BOOT)
            one.update(Status="Successful", PercentageComplete=100)

    async def refreshes(app, call):
        one = REFRESHES.get(call.form["AutoScalingGroupName"])
        member = "<member>" + "".join(f"<{k}>{v}</{k}>" for k, v in one.items()) + "</member>" if one else ""
        return xml(call.operation, f"<InstanceRefreshes>{member}</InstanceRefreshes>")

    async def group_changes(app, call):
        name = call.form.get("AutoScalingGroupName", "")
        before = await groups(app, call, name)
        if call.operation == "CreateAutoScalingGroup" and not before:
            FAILED.pop(name, None)
        said = await ask(app, call)
        if said[0] == 200 and "CapacityRebalance" in call.form:
            REBALANCE[name] = call.form["CapacityRebalance"]
        await look(app, call, name)
        return said

    async def describe_groups(app, call):
        # Both emulators lose this setting.
        status, headers, body = await ask(app, call)
        field = lambda arn: f"<CapacityRebalance>{REBALANCE.get(arn[0].rsplit('/', 1)[-1].split('<')[0], 'false')}</CapacityRebalance>{arn[0]}"
        text = re.sub(r"<AutoScalingGroupARN>[^<]*<", field, body.decode())
        # An instance has the version from which it was started, not $Default.
        for id in texts(text, "InstanceId"):
            version = AGENTS.get(id, {}).get("version")
            if version:
                at = text.index(f"<InstanceId>{id}<")
                begin, end = text.rindex("<member>", 0, at), text.index("</member>", at)
                text = text[:begin] + re.sub(r"<Version>[^<]*<", f"<Version>{version}<", text[begin:end]) + text[end:]
        return status, headers, text.encode()

    async def terminate(app, call):
        id = call.form["InstanceId"]
        group = AGENTS.get(id, {}).get("group")
        if not group:
            return refused("ValidationError", f"Instance Id not found - No managed instance found for instance ID: {id}")
        said = await ask(app, call)
        await look(app, call, group)
        return said

    async def activities(app, call):
        name = call.form.get("AutoScalingGroupName", "")
        return xml(call.operation, "<Activities>" + "".join(FAILED.get(name, [])) + "</Activities>")

    def in_cluster(name):
        name = name.rsplit("/", 1)[-1]
        return {agent["arn"]: (id, agent) for id, agent in list(AGENTS.items()) if agent.get("cluster") == name}

    async def list_instances(app, call):
        name = json.loads(call.body).get("cluster", "default")
        if not await cluster_of(app, call, name):
            return error("ClusterNotFoundException", "Cluster not found.")
        return answer({"containerInstanceArns": list(in_cluster(name))})

    async def describe_instances(app, call):
        request = json.loads(call.body)
        known, found = in_cluster(request.get("cluster", "default")), []
        for arn in request["containerInstances"]:
            if arn in known:
                id, agent = known[arn]
                one = {"containerInstanceArn": arn, "ec2InstanceId": id, "status": "ACTIVE", "agentConnected": True, "runningTasksCount": 0, "pendingTasksCount": 0}
                found.append({**one, **({"capacityProviderName": agent["provider"]} if agent["provider"] else {})})
        return answer({"containerInstances": found, "failures": []})

    async def delete_cluster(app, call):
        if in_cluster(json.loads(call.body)["cluster"]):
            return error("ClusterContainsContainerInstancesException", "The Cluster cannot be deleted while Container Instances are active or draining.")
        return await ask(app, call)

    async def create_provider(app, call):
        # Both emulators keep what the request calls the group. AWS keeps the ARN of a group that exists.
        request = json.loads(call.body)
        details = request["autoScalingGroupProvider"]
        if details["autoScalingGroupArn"].startswith("arn:"):
            return await ask(app, call)
        found = await groups(app, call, details["autoScalingGroupArn"])
        if not found:
            return error("ClientException", "The specified Auto Scaling group does not exist. Specify a valid Auto Scaling group and try again.")
        details["autoScalingGroupArn"] = found[0]["arn"]
        return await ask(app, call.asking(call.operation, request))

    async def put_providers(app, call):
        # Both emulators let a cluster lose the capacity provider of its services.
        request = json.loads(call.body)
        cluster = await cluster_of(app, call, request["cluster"])
        lost = set((cluster or {}).get("capacityProviders") or []) - set(request.get("capacityProviders") or [])
        if lost:
            arns = (await ecs(app, call, "ListServices", {"cluster": request["cluster"]})).get("serviceArns", [])
            services = []
            for i in range(0, len(arns), 10):
                services += (await services_of(app, call, request["cluster"], arns[i : i + 10])).get("services", [])
            used = {item["capacityProvider"] for one in services if one.get("status") != "INACTIVE" for item in one.get("capacityProviderStrategy") or []}
            if lost & used:
                return error("ResourceInUseException", "The specified capacity provider is in use and cannot be removed.")
        return await ask(app, call)

    async def services_of(app, call, cluster, arns):
        describe = to(call, "ecs", target="DescribeServices", request={"cluster": cluster, "services": arns})
        status, _, body = await (DESCRIBE_SERVICES[0] or ask)(app, describe)
        return json.loads(body) if status == 200 else {}

    return {
        **{("autoscaling", name): group_changes for name in ("CreateAutoScalingGroup", "UpdateAutoScalingGroup", "SetDesiredCapacity", "DeleteAutoScalingGroup")},
        ("autoscaling", "DescribeAutoScalingGroups"): describe_groups,
        ("autoscaling", "StartInstanceRefresh"): start_refresh,
        ("autoscaling", "DescribeInstanceRefreshes"): refreshes,
        ("autoscaling", "TerminateInstanceInAutoScalingGroup"): terminate,
        ("autoscaling", "DescribeScalingActivities"): activities,
        ("ecs", "ListContainerInstances"): list_instances,
        ("ecs", "DescribeContainerInstances"): describe_instances,
        ("ecs", "DeleteCluster"): delete_cluster,
        ("ecs", "CreateCapacityProvider"): create_provider,
        ("ecs", "PutClusterCapacityProviders"): put_providers,
    }


DESCRIBE_SERVICES = [None]  # the handler of DescribeServices, where the emulator loses the strategy


def no_quota(kind, group):
    """Keeps the failed launch of an instance of this type. Returns whether it has no quota."""
    if not kind.startswith(NO_QUOTA):
        return False
    fields = {"ActivityId": uuid.uuid4(), "AutoScalingGroupName": group, "Description": "Launching a new EC2 instance.  Status Reason: " + QUOTA, "Cause": "a difference between desired and actual capacity"}
    fields |= {"StartTime": "2026-01-01T00:00:00Z", "StatusCode": "Failed", "StatusMessage": QUOTA + " Launching EC2 instance failed.", "Progress": 100, "Details": "{}"}
    FAILED.setdefault(group, []).insert(0, "<member>" + "".join(f"<{k}>{v}</{k}>" for k, v in fields.items()) + "</member>")
    return True


def in_ministack(autoscaling, ec2, change):
    """Corrects ministack's groups: they have the id of their launch template, and keep what an update sets."""

    def source(params):
        name = params.get("LaunchTemplate.LaunchTemplateName")
        found = [one for one in ec2._launch_templates.values() if one.get("LaunchTemplateName") == name]
        return {"LaunchTemplateId": found[0]["LaunchTemplateId"], "LaunchTemplateName": name, "Version": params.get("LaunchTemplate.Version", "$Default")} if found else {}

    def keeps(act, params):
        said = act(params)
        group = autoscaling._asgs.get(params.get("AutoScalingGroupName"))
        if group and said[0] == 200:
            if found := source(params):
                group["LaunchTemplate"] = found
            for instance in group["Instances"]:
                instance["LaunchTemplate"] = instance.get("LaunchTemplate") or group["LaunchTemplate"]
        return said

    def terminate(params):
        for group in autoscaling._asgs.values():
            group["Instances"] = [one for one in group["Instances"] if one["InstanceId"] != params["InstanceId"]]
            autoscaling._reconcile_instances(group)
        return autoscaling._xml(200, "TerminateInstanceInAutoScalingGroupResponse", "<TerminateInstanceInAutoScalingGroupResult/>")

    change(autoscaling, "CreateAutoScalingGroup", keeps)
    change(autoscaling, "UpdateAutoScalingGroup", keeps)
    autoscaling._ACTION_MAP["TerminateInstanceInAutoScalingGroup"] = terminate


def in_moto():
    """Corrects moto's groups: an update keeps the fields that it does not name, and a type without quota does not start.

    Instances also start from the second version of a launch template, whose user data moto does not
    wrap.
    """
    from moto.autoscaling.models import FakeAutoScalingGroup
    from moto.core.types import Base64EncodedString
    from moto.ec2.models.launch_templates import LaunchTemplate, LaunchTemplateVersion
    # moto keeps the tags of the creation, and does not see those that are set or removed later.
    LaunchTemplate.tags = property(lambda self: self.get_tags(), lambda self, tags: None)

    def user_data(self):
        text = self.data.get("UserData")
        return Base64EncodedString(text) if isinstance(text, str) else text

    LaunchTemplateVersion.user_data = property(user_data)

    update, set_desired = FakeAutoScalingGroup.update, FakeAutoScalingGroup.set_desired_capacity

    def keeps(self, *args, **fields):
        if not fields.get("launch_template") and not fields.get("launch_config_name"):
            fields["mixed_instances_policy"] = fields.get("mixed_instances_policy") or copy.deepcopy(self.mixed_instances_policy)
            if kept := (fields["mixed_instances_policy"] or {}).get("LaunchTemplate", {}).get("LaunchTemplateSpecification"):
                # moto adds the id, and refuses a request with both.
                kept.pop("LaunchTemplateId" if "LaunchTemplateName" in kept else "", None)
        return update(self, *args, **fields)

    def starts(self, new_capacity):
        wanted = self.min_size if new_capacity is None else new_capacity
        kind = self.ec2_launch_template.default_version().data.get("InstanceType", "") if self.ec2_launch_template else ""
        if wanted > len(self.instance_states) and no_quota(kind, self.name):
            self.desired_capacity = wanted
            return
        set_desired(self, new_capacity)

    FakeAutoScalingGroup.update, FakeAutoScalingGroup.set_desired_capacity = keeps, starts
