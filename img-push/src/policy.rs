//! What this tool may do in AWS.

use shared::policy::{Grant, When};

const REPOSITORIES: &[&str] = &["arn:*:ecr:*:*:repository/{app}/*"];

pub const GRANTS: &[Grant] = &[
    // Neither call can be limited to repositories: `--down` lists all of them, and a token is valid for all of them.
    Grant { sid: "Read", actions: &["ecr:DescribeRepositories", "ecr:GetAuthorizationToken"], on: &["*"], when: &[] },
    // Neither call has resources. `--prune` keeps the repositories that tasks still use.
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
    Grant { sid: "ReadTaskDefinitions", actions: &["ecs:DescribeTaskDefinition", "ecs:ListTaskDefinitionFamilies"], on: &["*"], when: &[] },
    Grant {
        sid: "ReadRepositories",
        actions: &["ecr:DescribeImages", "ecr:GetLifecyclePolicy", "ecr:ListTagsForResource"],
        on: REPOSITORIES,
        when: &[],
    },
    Grant { sid: "CreateRepository", actions: &["ecr:CreateRepository"], on: REPOSITORIES, when: &[When::Tagged] },
    Grant { sid: "TagNew", actions: &["ecr:TagResource"], on: REPOSITORIES, when: &[When::Tagged, When::Untagged] },
    Grant {
        sid: "Repositories",
        actions: &[
            "ecr:DeleteRepository",
            "ecr:PutImageScanningConfiguration",
            "ecr:PutImageTagMutability",
            "ecr:PutLifecyclePolicy",
            "ecr:TagResource",
            "ecr:UntagResource",
        ],
        on: REPOSITORIES,
        when: &[When::Ours],
    },
    // ECR uses the key of a repository (`x-img.kms_key`) with the permissions of the caller.
    // https://docs.aws.amazon.com/AmazonECR/latest/userguide/encryption-at-rest.html
    Grant { sid: "Key", actions: &["kms:DescribeKey", "kms:RetireGrant"], on: &["{key}"], when: &[] },
    Grant { sid: "KeyOfRepository", actions: &["kms:CreateGrant"], on: &["{key}"], when: &[When::True("kms:GrantIsForAWSResource")] },
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
        on: REPOSITORIES,
        when: &[When::OursByName],
    },
];
