//! What this tool may do in AWS.

use shared::policy::Grant;

pub const GRANTS: &[Grant] = &[
    // Neither call can be limited to repositories: `--down` lists all of them, and a token is valid for all of them.
    Grant { sid: "Read", actions: &["ecr:DescribeRepositories", "ecr:GetAuthorizationToken"], on: &["*"] },
    // Neither call has resources. `--prune` keeps the repositories that tasks still use.
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
    Grant { sid: "ReadTaskDefinitions", actions: &["ecs:DescribeTaskDefinition", "ecs:ListTaskDefinitionFamilies"], on: &["*"] },
    Grant {
        sid: "Repositories",
        actions: &[
            "ecr:CreateRepository",
            "ecr:DeleteRepository",
            "ecr:DescribeImages",
            "ecr:GetLifecyclePolicy",
            "ecr:ListTagsForResource",
            "ecr:PutImageScanningConfiguration",
            "ecr:PutImageTagMutability",
            "ecr:PutLifecyclePolicy",
            "ecr:TagResource",
            "ecr:UntagResource",
        ],
        on: &["arn:*:ecr:*:*:repository/{app}/*"],
    },
    // ECR uses the key of a repository (`x-img.kms_key`) with the permissions of the caller.
    // https://docs.aws.amazon.com/AmazonECR/latest/userguide/encryption-at-rest.html
    Grant { sid: "Key", actions: &["kms:CreateGrant", "kms:DescribeKey", "kms:RetireGrant"], on: &["arn:*:kms:*:*:key/*"] },
    // The Docker Engine calls these when it pushes. An image that only ECR has is read like a pull.
    // https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
    Grant {
        sid: "Push",
        actions: &[
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:CompleteLayerUpload",
            "ecr:GetDownloadUrlForLayer",
            "ecr:InitiateLayerUpload",
            "ecr:PutImage",
            "ecr:UploadLayerPart",
        ],
        on: &["arn:*:ecr:*:*:repository/{app}/*"],
    },
];
