//! The services of AWS that run a database or broker, for a warning beside one on the app's file system.

use shared::doc::known_image::{Known, known_of};
use shared::doc::mount::Mount;
use shared::doc::{At, Document};

/// By the name of the well-known image.
const SERVICES: &[(&str, &str)] = &[
    ("activemq", "Amazon MQ"),
    ("cassandra", "Amazon Keyspaces"),
    ("elasticsearch", "Amazon OpenSearch Service"),
    ("influxdb", "Amazon Timestream"),
    ("kafka", "Amazon MSK"),
    ("mariadb", "Amazon RDS"),
    ("minio", "Amazon S3"),
    ("mongo", "Amazon DocumentDB"),
    ("mssql", "Amazon RDS"),
    ("mysql", "Amazon RDS"),
    ("neo4j", "Amazon Neptune"),
    ("opensearch", "Amazon OpenSearch Service"),
    ("postgres", "Amazon RDS"),
    ("rabbitmq", "Amazon MQ"),
    ("redis", "Amazon ElastiCache"),
    ("valkey", "Amazon ElastiCache"),
];

/// Warns when a container keeps its data in this mount: each write goes over the network, and there is one task and no backup.
pub fn warn(doc: &Document, name: &str, service: &At<'_>, mount: &Mount<'_>) {
    let Some(Known { name: what, .. }) = known_of(service).filter(|image| image.data.contains(&mount.target.as_str())) else { return };
    if let Some((_, managed)) = SERVICES.iter().find(|(of, _)| *of == what) {
        doc.warn(
            "database-on-efs",
            format!("services.{name} keeps the data of {what} on EFS, in one task without backups. For production, consider {managed}"),
        );
    }
}
