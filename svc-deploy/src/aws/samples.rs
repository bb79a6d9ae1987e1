//! Values for the unit tests.

use std::collections::{BTreeMap, BTreeSet};

use shared::doc::{Caller, Capacity, Cluster, LaunchType, Net};

use crate::model::{Breaker, Codes, Container, HealthyPercent, NetworkMode, Patch, Published, Service, TargetGroupShape, TaskRole, Wanted};

pub fn caller() -> Caller {
    Caller { account: "123456789012".to_owned(), region: "us-east-1".to_owned(), partition: "aws".to_owned() }
}

pub fn container(name: &str) -> Container {
    Container {
        name: name.to_owned(),
        image: Some("nginx".to_owned()),
        essential: true,
        cpu: 256,
        memory: Some(512),
        ..Container::default()
    }
}

pub fn service(name: &str) -> Service {
    Service {
        name: name.to_owned(),
        selected: true,
        containers: vec![container(name)],
        network_mode: NetworkMode::Awsvpc,
        size: None,
        pid_mode: None,
        ipc_mode: None,
        platform: None,
        published: None,
        desired: 2,
        single: false,
        fast_metrics: false,
        after: Vec::new(),
        job: None,
        before: Vec::new(),
        connect: None,
        breaker: Breaker { enable: true, rollback: true, failures: None },
        healthy_percent: HealthyPercent { minimum: 100, maximum: 200 },
        task_role: TaskRole::Own(BTreeSet::new()),
        volumes: Vec::new(),
        labels: Vec::new(),
        patch: Patch::default(),
    }
}

/// A service behind the load balancer.
pub fn published(name: &str, hosts: &[&str], paths: &[&str]) -> Service {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let published =
        Published { port: 80, listener: None, paths: texts(paths), hosts: texts(hosts), target_group: target_group(), grace: 60 };
    Service { published: Some(published), ..service(name) }
}

pub fn target_group() -> TargetGroupShape {
    TargetGroupShape {
        port: 80,
        protocol: "HTTP".to_owned(),
        protocol_version: "HTTP1".to_owned(),
        target_type: "ip".to_owned(),
        health_check_protocol: None,
        health_check_port: None,
        health_check_path: "/".to_owned(),
        health_check_interval_seconds: 15,
        health_check_timeout_seconds: 5,
        healthy_threshold_count: 2,
        unhealthy_threshold_count: 3,
        matcher: Codes { http_code: Some("200-399".to_owned()), grpc_code: None },
        attributes: BTreeMap::new(),
    }
}

pub fn wanted(services: Vec<Service>) -> Wanted {
    Wanted {
        net: Net {
            private_subnet_ids: vec![Some("subnet-1".to_owned()), Some("subnet-2".to_owned())],
            task_security_group_id: Some("sg-1".to_owned()),
            ..Net::default()
        },
        cluster: Cluster {
            launch_type: LaunchType::Fargate,
            capacity_provider_strategy: vec![Capacity { capacity_provider: "FARGATE".to_owned(), weight: 1, base: 0 }],
            ..Cluster::default()
        },
        certificate: None,
        ssl_policy: "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09".to_owned(),
        internal: false,
        access_logs: None,
        attributes: BTreeMap::new(),
        alb: None,
        priority: None,
        execution_role: None,
        boundary: None,
        retention: 30,
        log_kms_key: None,
        files_image: "busybox".to_owned(),
        change_volumes: false,
        services,
    }
}
