//! Well-known images: what they are, which ports they listen on, and where they keep data.

use super::at::At;

/// What is known of an image by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// As people call it, for example `postgres`.
    pub name: &'static str,
    pub kind: Kind,
    /// The tcp ports that it listens on, the main one first.
    pub ports: &'static [u16],
    /// The folders that it keeps data in.
    pub data: &'static [&'static str],
    /// The ports on which a proxy has a page or an interface without a password. All other ports of a proxy are for everybody.
    pub pages: &'static [u16],
}

impl Known {
    /// Returns whether it is private unless the author says otherwise.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.kind != Kind::Proxy
    }

    /// Returns whether it calls no other service without a word in its settings.
    #[must_use]
    pub fn calls_nobody(&self) -> bool {
        matches!(self.kind, Kind::Database | Kind::Broker | Kind::Mail)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Database,
    Broker,
    Mail,
    /// A page to look into a database, a queue, a mailbox or the app itself. Most have no password.
    Administration,
    /// A proxy, which is public, with an administration page on a port of its own.
    Proxy,
}

impl Kind {
    /// As a message says it, with its article.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Database => "a database",
            Self::Broker => "a message broker",
            Self::Mail => "a mail server",
            Self::Administration => "an administration page",
            Self::Proxy => "a proxy, and publishes only its administration page",
        }
    }
}

/// Each image with its names: the last part of a repository, or the last two where the last one alone says nothing.
const TABLE: &[(&[&str], Known)] = &[
    (
        &["postgres", "postgresql", "postgis", "timescaledb", "timescaledb-ha", "pgvector", "pgvecto-rs"],
        database("postgres", &[5432], &["/var/lib/postgresql/data", "/var/lib/postgresql", "/bitnami/postgresql"]),
    ),
    (
        &["mysql", "mysql-server", "percona", "percona-server"],
        database("mysql", &[3306, 33060], &["/var/lib/mysql", "/bitnami/mysql/data"]),
    ),
    (&["mariadb"], database("mariadb", &[3306], &["/var/lib/mysql", "/bitnami/mariadb"])),
    (&["mssql/server"], database("mssql", &[1433], &["/var/opt/mssql"])),
    (
        &["mongo", "mongodb", "mongodb-community-server", "mongodb-enterprise-server"],
        database("mongo", &[27017], &["/data/db", "/data/configdb", "/bitnami/mongodb"]),
    ),
    (
        &["redis", "redis-stack", "redis-stack-server", "keydb", "dragonfly"],
        database("redis", &[6379], &["/data", "/var/lib/redis", "/bitnami/redis/data"]),
    ),
    (&["valkey"], database("valkey", &[6379], &["/data", "/bitnami/valkey/data"])),
    (&["memcached"], database("memcached", &[11211], &[])),
    (&["elasticsearch"], database("elasticsearch", &[9200, 9300], &["/usr/share/elasticsearch/data", "/bitnami/elasticsearch/data"])),
    (&["opensearch"], database("opensearch", &[9200, 9300, 9600], &["/usr/share/opensearch/data"])),
    (&["clickhouse", "clickhouse-server"], database("clickhouse", &[8123, 9000, 9009], &["/var/lib/clickhouse"])),
    (&["cassandra", "scylla"], database("cassandra", &[9042, 7000], &["/var/lib/cassandra", "/var/lib/scylla"])),
    (&["neo4j"], database("neo4j", &[7687, 7474], &["/data"])),
    (&["influxdb"], database("influxdb", &[8086], &["/var/lib/influxdb2", "/var/lib/influxdb"])),
    (&["couchdb"], database("couchdb", &[5984], &["/opt/couchdb/data", "/bitnami/couchdb"])),
    (&["arangodb"], database("arangodb", &[8529], &["/var/lib/arangodb3"])),
    (&["rethinkdb"], database("rethinkdb", &[28015, 8080], &["/data"])),
    (&["cockroach"], database("cockroachdb", &[26257, 8080], &["/cockroach/cockroach-data"])),
    (&["solr"], database("solr", &[8983], &["/var/solr", "/bitnami/solr"])),
    (&["qdrant"], database("qdrant", &[6333, 6334], &["/qdrant/storage"])),
    (&["chromadb/chroma", "chroma-core/chroma"], database("chroma", &[8000], &["/data", "/chroma/chroma"])),
    (&["dynamodb-local"], database("dynamodb-local", &[8000], &["/home/dynamodblocal/data"])),
    (&["etcd"], database("etcd", &[2379, 2380], &["/etcd-data", "/bitnami/etcd"])),
    (&["minio"], database("minio", &[9000, 9001], &["/data", "/bitnami/minio/data"])),
    (&["rabbitmq"], broker("rabbitmq", &[5672, 15672], &["/var/lib/rabbitmq", "/bitnami/rabbitmq/mnesia"])),
    (&["kafka", "cp-kafka", "kafka-native", "redpanda"], broker("kafka", &[9092, 9093], &["/var/lib/kafka/data", "/bitnami/kafka"])),
    (&["zookeeper", "cp-zookeeper"], broker("zookeeper", &[2181], &["/data", "/datalog", "/var/lib/zookeeper/data"])),
    (&["nats"], broker("nats", &[4222, 8222], &["/data"])),
    (&["activemq", "activemq-classic", "activemq-artemis"], broker("activemq", &[61616, 8161], &["/opt/apache-activemq/data"])),
    (&["eclipse-mosquitto"], broker("mosquitto", &[1883], &["/mosquitto/data"])),
    (&["mailpit"], mail("mailpit", &[1025, 8025], &["/data"])),
    (&["mailhog"], mail("mailhog", &[1025, 8025], &[])),
    (&["mailcatcher"], mail("mailcatcher", &[1025, 1080], &[])),
    (&["maildev"], mail("maildev", &[1025, 1080], &[])),
    (&["smtp4dev"], mail("smtp4dev", &[25, 80], &["/smtp4dev"])),
    (&["postfix", "docker-mailserver", "smtp"], mail("smtp", &[25, 587], &["/var/mail"])),
    (&["adminer"], administration("adminer", &[8080])),
    (&["pgadmin", "pgadmin4"], administration("pgadmin", &[80])),
    (&["phpmyadmin"], administration("phpmyadmin", &[80])),
    (&["phppgadmin"], administration("phppgadmin", &[80])),
    (&["phpldapadmin"], administration("phpldapadmin", &[80])),
    (&["phpredisadmin"], administration("phpredisadmin", &[80])),
    (&["redis-commander"], administration("redis-commander", &[8081])),
    (&["redisinsight"], administration("redisinsight", &[5540])),
    (&["mongo-express"], administration("mongo-express", &[8081])),
    (&["pgweb"], administration("pgweb", &[8081])),
    (&["dbgate"], administration("dbgate", &[3000])),
    (&["kafka-ui", "akhq", "kafdrop", "cmak"], administration("kafka-ui", &[8080])),
    (&["redpandadata/console"], administration("redpanda-console", &[8080])),
    (&["cp-enterprise-control-center"], administration("control-center", &[9021])),
    (&["portainer", "portainer-ce", "portainer-ee"], administration("portainer", &[9000, 9443])),
    (&["docker-socket-proxy"], administration("docker-socket-proxy", &[2375])),
    (&["dozzle"], administration("dozzle", &[8080])),
    (&["cadvisor"], administration("cadvisor", &[8080])),
    (&["node-exporter"], administration("node-exporter", &[9100])),
    (&["prometheus"], administration("prometheus", &[9090])),
    (&["pushgateway"], administration("pushgateway", &[9091])),
    (&["alertmanager"], administration("alertmanager", &[9093])),
    (&["victoria-metrics"], administration("victoria-metrics", &[8428])),
    (&["grafana/loki"], administration("loki", &[3100])),
    (&["flower"], administration("flower", &[5555])),
    (&["rq-dashboard"], administration("rq-dashboard", &[9181])),
    (&["asynqmon"], administration("asynqmon", &[8080])),
    (&["temporalio/ui"], administration("temporal-ui", &[8080])),
    (&["jaeger", "jaeger-query", "jaegertracing/all-in-one"], administration("jaeger", &[16686, 4317, 4318])),
    (&["zipkin", "zipkin-slim"], administration("zipkin", &[9411])),
    (&["kibana", "kibana-oss"], administration("kibana", &[5601])),
    (&["opensearch-dashboards"], administration("opensearch-dashboards", &[5601])),
    (&["elasticsearch-head"], administration("elasticsearch-head", &[9100])),
    (&["cerebro"], administration("cerebro", &[9000])),
    (&["elasticvue"], administration("elasticvue", &[8080])),
    (&["mlflow"], administration("mlflow", &[5000])),
    (&["node-red"], administration("node-red", &[1880])),
    (&["traefik"], proxy("traefik", &[80], &[8080])),
    (&["envoy", "envoy-distroless"], proxy("envoy", &[10000], &[9901])),
    (&["nginx-proxy-manager"], proxy("nginx-proxy-manager", &[80, 443, 81], &[81])),
    (&["kong", "kong-gateway"], proxy("kong", &[8000, 8443], &[8001, 8002, 8444, 8445])),
];

const fn database(name: &'static str, ports: &'static [u16], data: &'static [&'static str]) -> Known {
    Known { name, kind: Kind::Database, ports, data, pages: &[] }
}

const fn broker(name: &'static str, ports: &'static [u16], data: &'static [&'static str]) -> Known {
    Known { name, kind: Kind::Broker, ports, data, pages: &[] }
}

const fn mail(name: &'static str, ports: &'static [u16], data: &'static [&'static str]) -> Known {
    Known { name, kind: Kind::Mail, ports, data, pages: &[] }
}

const fn administration(name: &'static str, ports: &'static [u16]) -> Known {
    Known { name, kind: Kind::Administration, ports, data: &[], pages: &[] }
}

const fn proxy(name: &'static str, ports: &'static [u16], pages: &'static [u16]) -> Known {
    Known { name, kind: Kind::Proxy, ports, data: &[], pages }
}

/// Returns what is known of the image of a service.
#[must_use]
pub fn known_of(service: &At<'_>) -> Option<Known> {
    service.key("image").and_then(|image| image.value().as_str()).and_then(known)
}

/// Returns what is known of an image, whatever its registry, account, tag or digest are.
#[must_use]
pub fn known(image: &str) -> Option<Known> {
    let without_digest = image.split('@').next().unwrap_or(image);
    let mut parts = without_digest.rsplit('/');
    // A colon before the last slash belongs to the port of a registry.
    let last = parts.next()?.split(':').next()?;
    let last_two = parts.next().map(|account| format!("{account}/{last}"));
    let is_it = |name: &str| name == last || last_two.as_deref() == Some(name);
    TABLE.iter().find(|(names, _)| names.iter().any(|name| is_it(name))).map(|(_, known)| *known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_whatever_its_registry_and_tag_are() {
        for (image, name) in [
            ("postgres", Some("postgres")),
            ("postgres:16-alpine", Some("postgres")),
            ("docker.io/library/postgres:16@sha256:0123", Some("postgres")),
            ("localhost:5000/postgres", Some("postgres")),
            ("postgis/postgis:16-3.4", Some("postgres")),
            ("mcr.microsoft.com/mssql/server:2022-latest", Some("mssql")),
            ("docker.elastic.co/elasticsearch/elasticsearch:8.15.0", Some("elasticsearch")),
            ("axllent/mailpit", Some("mailpit")),
            ("dpage/pgadmin4", Some("pgadmin")),
            ("docker.elastic.co/kibana/kibana:8.15.0", Some("kibana")),
            ("bitnami/kibana", Some("kibana")),
            ("provectuslabs/kafka-ui:latest", Some("kafka-ui")),
            ("ghcr.io/kafbat/kafka-ui", Some("kafka-ui")),
            ("quay.io/prometheus/alertmanager", Some("alertmanager")),
            ("cr.jaegertracing.io/jaegertracing/jaeger:2.0", Some("jaeger")),
            ("docker.redpanda.com/redpandadata/console:v2", Some("redpanda-console")),
            ("grafana/grafana", None),
            ("acme/console", None),
            ("acme/ui", None),
            ("minecraft/server", None),
            ("my-postgres", None),
            ("postgres/exporter", None),
            ("", None),
        ] {
            assert_eq!(known(image).map(|known| known.name), name, "{image}");
        }
    }

    /// Those that have a login of their own are as public as any service.
    #[test]
    fn pages_without_a_password_are_private() {
        let is_private = |image: &str| known(image).is_some_and(|known| known.is_private());
        for image in [
            "docker.elastic.co/kibana/kibana",
            "openzipkin/zipkin",
            "mobz/elasticsearch-head:5",
            "mher/flower",
            "rabbitmq:3-management",
            "redis/redisinsight",
            "amir20/dozzle",
            "portainer/portainer-ce",
            "gcr.io/cadvisor/cadvisor",
            "tecnativa/docker-socket-proxy",
            "opensearchproject/opensearch-dashboards",
        ] {
            assert!(is_private(image), "{image}");
        }
        for image in ["grafana/grafana", "metabase/metabase", "nginx", "traefik:v3", "kong"] {
            assert!(!is_private(image), "{image}");
        }
    }

    #[test]
    fn each_name_is_in_the_table_once() {
        let mut names: Vec<&str> = TABLE.iter().flat_map(|(names, _)| names.iter().copied()).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(TABLE.iter().all(|(_, known)| !known.ports.is_empty()));
    }
}
