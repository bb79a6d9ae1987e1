"""What ministack's tasks lack of volumes and secrets, and of the order in which containers start.

ministack's EFS has no files: here the folder of an access point is a Docker volume, which lives as
long as the file system. ministack also ignores the entry point, the user and the working directory
of a container.
"""

import json
import re
from functools import partial

FILES_IMAGE = re.compile(r"^public\.ecr\.aws/docker/library/busybox(:.*)?$")


def local_image(image):
    """Returns the image that is there without a network."""
    return FILES_IMAGE.sub("busybox", image)


def in_ministack(ecs, efs, ssm):
    """Corrects ministack."""
    # ministack's tasks get the values of encrypted parameters as it stores them.
    ssm.resolve_parameter_value = partial(ssm.resolve_parameter_value, decrypt=True)

    build, start, cleanup, run = ecs._build_run_kwargs, ecs._start_task_worker, ecs._cleanup_task_resources, ecs._run_docker_container
    delete_file_system = efs._delete_file_system

    def with_volumes(container, definition, env, ports, network, host_mode, task_id, *more):
        kwargs = build(container, definition, env, ports, network, host_mode, task_id, *more)
        volumes = {volume["name"]: volume for volume in definition.get("volumes", [])}
        binds = kwargs.get("volumes") or []
        for mount in container.get("mountPoints", []):
            volume = volumes.get(mount.get("sourceVolume"))
            if volume and not (volume.get("host") or {}).get("sourcePath"):
                name, copies = docker_volume(ecs, efs, volume, task_id)
                options = ["ro" if mount.get("readOnly") else "rw", *([] if copies else ["nocopy"])]
                binds.append(f"{name}:{mount['containerPath']}:{','.join(options)}")
        if binds:
            kwargs["volumes"] = binds
        for field, option in [("entryPoint", "entrypoint"), ("user", "user"), ("workingDirectory", "working_dir")]:
            if container.get(field):
                kwargs[option] = container[field]
        return kwargs

    def in_order(task, definition, overrides, client):
        order = sorted(definition.get("containerDefinitions", []), key=lambda one: depth(definition, one["name"]))
        order = [{**one, "image": local_image(one["image"])} for one in order]
        essentials = dict(zip([one["name"] for one in definition["containerDefinitions"]], task["_container_essentials"], strict=True))
        by_name = {one["name"]: one for one in task["containers"]}
        task["containers"] = [by_name[one["name"]] for one in order]
        task["_container_essentials"] = [essentials[one["name"]] for one in order]
        return start(task, {**definition, "containerDefinitions": order}, overrides, client)

    def after_others(client, container, kwargs, **more):
        for other in container.get("dependsOn", []):
            if other["condition"] not in ("SUCCESS", "COMPLETE"):
                continue
            name = kwargs["name"].removesuffix(container["name"]) + other["containerName"]
            code = client.containers.get(name).wait()["StatusCode"]
            if code and other["condition"] == "SUCCESS":
                raise RuntimeError(f"the container {other['containerName']} ended with exit code {code}")
        return run(client, container, kwargs, **more)

    def with_task_volumes(task, client, extra=None):
        cleanup(task, client, extra)
        client = client or ecs._get_docker()
        task_id = task.get("taskArn", "").rsplit("/", 1)[-1]
        for volume in client.volumes.list(filters={"label": f"local-task={task_id}"}) if client else []:
            volume.remove(force=True)

    def with_files(file_system):
        answer = delete_file_system(file_system)
        if answer[0] == 204 and (client := ecs._get_docker()):
            for volume in client.volumes.list(filters={"label": f"local-efs={file_system}"}):
                volume.remove(force=True)
        return answer

    ecs._build_run_kwargs, ecs._start_task_worker, ecs._run_docker_container = with_volumes, in_order, after_others
    ecs._cleanup_task_resources, efs._delete_file_system = with_task_volumes, with_files


def depth(definition, name, seen=()):
    """Returns how many containers must be started one after another before this one."""
    one = next((one for one in definition["containerDefinitions"] if one["name"] == name), {})
    others = [other["containerName"] for other in one.get("dependsOn", []) if other["containerName"] not in seen]
    return max((1 + depth(definition, other, (*seen, name)) for other in others), default=0)


def check_policy(efs, file_system, configuration):
    """Refuses what the policy of the file system does not allow, as EFS does.

    Without IAM the client is nobody, so only a statement for everybody admits it. Roles may have
    policies of their own, which are not read here.
    """
    text = (efs._file_systems.get(file_system) or {}).get("FileSystemPolicy")
    statements = json.loads(text)["Statement"] if text else []
    by_iam = (configuration.get("authorizationConfig") or {}).get("iam") == "ENABLED"
    encrypted = configuration.get("transitEncryption") == "ENABLED"
    for_all = [one for one in statements if one["Principal"] in ("*", {"AWS": "*"})]
    admitted = by_iam or any(one["Effect"] == "Allow" and "elasticfilesystem:ClientMount" in one["Action"] for one in for_all)
    denied = not encrypted and any(one["Effect"] == "Deny" and "aws:SecureTransport" in str(one.get("Condition")) for one in for_all)
    if text and (denied or not admitted):
        raise RuntimeError(f"mount.nfs4: access denied by server while mounting {file_system}")


def docker_volume(ecs, efs, volume, task_id):
    """Returns the Docker volume of a task's volume, and whether Docker copies the image's files."""
    client = ecs._get_docker()
    if shared := volume.get("dockerVolumeConfiguration"):
        return (volume["name"] if shared.get("scope") == "shared" else f"local-task-{task_id}-{volume['name']}"), True
    configuration = volume.get("efsVolumeConfiguration")
    if not configuration:
        name = f"local-task-{task_id}-{volume['name']}"
        client.volumes.create(name, labels={"local-task": task_id})
        return name, True
    file_system, root = configuration["fileSystemId"], configuration.get("rootDirectory") or "/"
    check_policy(efs, file_system, configuration)
    point = efs._access_points.get((configuration.get("authorizationConfig") or {}).get("accessPointId", ""), {})
    root = (point.get("RootDirectory") or {}).get("Path", root)
    name = f"local-{file_system}{re.sub('[^A-Za-z0-9_.-]', '-', root)}"
    if not any(one.name == name for one in client.volumes.list(filters={"name": name})):
        client.volumes.create(name, labels={"local-efs": file_system})
        info = (point.get("RootDirectory") or {}).get("CreationInfo") or {}
        owner, mode = f"{info.get('OwnerUid', 0)}:{info.get('OwnerGid', 0)}", info.get("Permissions", "0755")
        client.containers.run("busybox", ["sh", "-c", f"chown {owner} /v && chmod {mode} /v"], remove=True, volumes=[f"{name}:/v:rw,nocopy"])
    return name, False
