"""What ministack's target groups lack of health checks: it calls every target healthy.

Here a load balancer asks each target as its target group says (protocol, path, codes, thresholds),
and ECS ends a task that is unhealthy after the grace period, and completes a deployment only when
its tasks are healthy. Intervals and grace periods pass FASTER times as fast as on AWS.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/troubleshoot-service-load-balancers.html
"""

import contextvars
import http.client
import random
import socket
import ssl
import threading
import time

FASTER = 10
TARGETS = {}  # the health of each target, by target group, address and port


class Target:
    """One target: its state, and how many checks in a row agreed with each other."""

    def __init__(self):
        self.state, self.reason, self.description = "initial", "Elb.InitialHealthChecking", "Initial health checks in progress"
        self.passed = self.failed = 0

    def note(self, group, failure):
        """Counts a check. A new target must pass one check, and an unhealthy one several in a row."""
        self.passed, self.failed = (0, self.failed + 1) if failure else (self.passed + 1, 0)
        needed = 1 if self.state == "initial" else group.get("HealthyThresholdCount", 5)
        if failure and self.failed >= group.get("UnhealthyThresholdCount", 2):
            self.state, (self.reason, self.description) = "unhealthy", failure
        elif self.passed >= needed:
            self.state, self.reason, self.description = "healthy", None, None

    def xml(self):
        more = f"<Reason>{self.reason}</Reason><Description>{self.description}</Description>" if self.reason else ""
        return f"<TargetHealth><State>{self.state}</State>{more}</TargetHealth>"


def ask(group, address, port):
    """Asks a target. Returns the reason and the description of a failure."""
    check = group.get("HealthCheckPort", "traffic-port")
    port = port if check == "traffic-port" else int(check)
    timeout = group.get("HealthCheckTimeoutSeconds", 5)
    try:
        if group.get("ProtocolVersion", "HTTP1") != "HTTP1":  # Python has no HTTP/2.
            socket.create_connection((address, port), timeout).close()
            return None
        secure = group.get("HealthCheckProtocol") == "HTTPS"
        context = ssl._create_unverified_context() if secure else None
        connection = (
            http.client.HTTPSConnection(address, port, timeout=timeout, context=context)
            if secure
            else http.client.HTTPConnection(address, port, timeout=timeout)
        )
        connection.request("GET", group.get("HealthCheckPath", "/"), headers={"User-Agent": "ELB-HealthChecker/2.0"})
        code = connection.getresponse().status
        connection.close()
    except TimeoutError:
        return "Target.Timeout", "Request timed out"
    except (OSError, http.client.HTTPException):
        return "Target.FailedHealthChecks", "Health checks failed"
    if matches(code, group.get("Matcher", {}).get("HttpCode", "200")):
        return None
    return "Target.ResponseCodeMismatch", f"Health checks failed with these codes: [{code}]"


def matches(code, codes):
    """Returns whether codes such as `200,300-399` have this one."""
    ranges = [[int(bound) for bound in part.split("-")] for part in codes.split(",")]
    return any(bounds[0] <= code <= bounds[-1] for bounds in ranges)


def in_ministack(alb, ecs):
    """Corrects ministack."""
    set_targets, record_healthy = alb.set_targets_for_group, ecs._record_service_task_healthy

    def task_of(address):
        running = (task for task in list(ecs._tasks.values()) if task.get("lastStatus") == "RUNNING")
        return next((task for task in running if ecs._task_ip(task) == address), None)

    def service_of(task):
        cluster, name = ecs._cluster_name_from_arn(task["clusterArn"]), task.get("group", "").removeprefix("service:")
        return cluster, f"{cluster}/{name}"

    def watch(group, address, port, target):
        while TARGETS.get((group, address, port)) is target and group in alb._tgs:
            before = target.state
            target.note(alb._tgs[group], ask(alb._tgs[group], address, port))
            task = task_of(address)
            if task and target.state == "unhealthy":
                end(group, port, task, target)
            elif task and before != target.state == "healthy":
                # ECS looks again at a deployment when a task is healthy.
                ecs._schedule_service_deployment_completion(*service_of(task), ecs.get_account_id(), ecs.get_region(), task)
            time.sleep(alb._tgs.get(group, {}).get("HealthCheckIntervalSeconds", 30) / FASTER)

    def end(group, port, task, target):
        """Ends an unhealthy task of a service, when its grace period is over."""
        cluster, key = service_of(task)
        service = ecs._services.get(key)
        age = time.time() - ecs._ts_to_epoch(task.get("startedAt") or task["createdAt"])
        if not service or age < (service.get("healthCheckGracePeriodSeconds") or 0) / FASTER:
            return
        message = f"(service {service['serviceName']}) (port {port}) is unhealthy in (target-group {group}) due to (reason {target.description})"
        service["events"].insert(0, {"id": ecs.new_uuid(), "createdAt": ecs._iso(), "message": message})
        reason = f"Task failed ELB health checks in (target-group {group})"
        if ecs._mark_task_stopped(task["taskArn"], task, reason, "ServiceSchedulerInitiated"):
            ecs._cleanup_task_resources(task, ecs._get_docker())
            ecs._refresh_service_state(cluster, task["group"])
            ecs._record_service_task_failure(task)

    def with_checks(group, targets, previous=()):
        published = set_targets(group, targets, previous)
        for key in [key for key in list(TARGETS) if key[0] == group and key[1] in previous and key[1:] not in targets]:
            TARGETS.pop(key, None)
        for address, port in targets if published else []:
            if (group, address, port) not in TARGETS:
                target = TARGETS[group, address, port] = Target()
                scope = contextvars.copy_context()
                threading.Thread(target=scope.run, args=(watch, group, address, port, target), daemon=True).start()
        return published

    def is_healthy(task):
        address = ecs._task_ip(task)
        return all(target.state == "healthy" for (_, id, _), target in list(TARGETS.items()) if id == address)

    def record_if_healthy(key, task):
        # A service with a load balancer needs the load balancer's checks, too.
        if is_healthy(task):
            record_healthy(key, task)

    def describe(params):
        group = alb._p(params, "TargetGroupArn")
        if group not in alb._tgs:
            return alb._error("TargetGroupNotFound", f"Target group '{group}' not found.")
        members = []
        for one in alb._targets.get(group, []):
            port = one.get("Port", alb._tgs[group].get("Port", 80))
            health = TARGETS.get((group, one["Id"], port), Target()).xml()
            members.append(f"<member><Target><Id>{one['Id']}</Id><Port>{port}</Port></Target>{health}</member>")
        return alb._xml(200, "DescribeTargetHealth", f"<TargetHealthDescriptions>{''.join(members)}</TargetHealthDescriptions>")

    forward = alb._forward_to_tg

    async def forward_to_healthy(group, method, path, headers, body, query, raw_query=None, raw_path=None):
        targets = alb._targets.get(group, [])
        healthy = [one for one in targets if getattr(TARGETS.get((group, one["Id"], one.get("Port"))), "state", "") == "healthy"]
        # A group without a healthy target sends requests to all of them.
        if not healthy:
            return await forward(group, method, path, headers, body, query, raw_query, raw_path)
        return await alb._proxy_http_target(random.choice(healthy), alb._tgs[group], method, raw_path or path, headers, body, query, raw_query)

    alb.set_targets_for_group, alb._forward_to_tg = with_checks, forward_to_healthy
    ecs._record_service_task_healthy = record_if_healthy
    alb_table = next(value for value in vars(alb).values() if isinstance(value, dict) and callable(value.get("DescribeTargetHealth")))
    alb_table["DescribeTargetHealth"] = describe
