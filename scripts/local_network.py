"""What blocks the deletion of a network in the local AWS. moto deletes groups, subnets and VPCs in use."""

import re

MADE = {}  # the network interfaces that somebody created, by id: their subnet and groups


def refused(message):
    body = f"<Response><Errors><Error><Code>DependencyViolation</Code><Message>{message}</Message></Error></Errors></Response>"
    return 400, [(b"content-type", b"text/xml")], body.encode()


def handlers(ask):
    async def create_interface(app, call):
        status, headers, body = await ask(app, call)
        if status == 200:
            id = re.search(rb"<networkInterfaceId>(eni-\w+)<", body)[1].decode()
            MADE[id] = {value for key, value in call.form.items() if key == "SubnetId" or key.startswith("SecurityGroupId")}
        return status, headers, body

    async def delete_interface(app, call):
        MADE.pop(call.form["NetworkInterfaceId"], None)
        return await ask(app, call)

    async def delete_part(app, call):
        id = call.form.get("GroupId") or call.form.get("SubnetId")
        if any(id in used for used in MADE.values()):
            return refused(f"The resource '{id}' has dependencies and cannot be deleted.")
        return await ask(app, call)

    async def delete_vpc(app, call):
        id = call.form["VpcId"]
        _, _, body = await ask(app, call.like(Action="DescribeSecurityGroups", Version=call.form["Version"], **{"Filter.1.Name": "vpc-id", "Filter.1.Value.1": id}))
        if body.count(b"<groupName>") > 1:
            return refused(f"The vpc '{id}' has dependencies and cannot be deleted.")
        return await ask(app, call)

    return {
        ("ec2", "CreateNetworkInterface"): create_interface,
        ("ec2", "DeleteNetworkInterface"): delete_interface,
        ("ec2", "DeleteSecurityGroup"): delete_part,
        ("ec2", "DeleteSubnet"): delete_part,
        ("ec2", "DeleteVpc"): delete_vpc,
    }
