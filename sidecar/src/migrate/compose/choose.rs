//! Pure: which service of a compose file is the one that the work is done in.

use crate::config::tree::{Entry, Node, Value};
use crate::migrate::dotenv::Variables;

/// Names that people give to it.
const USUAL: [&str; 14] = [
    "app",
    "dev",
    "devcontainer",
    "gpu",
    "jupyter",
    "main",
    "ml",
    "mltoolbox",
    "notebook",
    "research",
    "train",
    "trainer",
    "training",
    "workspace",
];

/// Images of what stands beside it: databases, queues, trackers.
const BESIDE: [&str; 18] = [
    "adminer",
    "clickhouse",
    "elasticsearch",
    "grafana",
    "kafka",
    "mariadb",
    "memcached",
    "minio",
    "mlflow",
    "mongo",
    "mysql",
    "nginx",
    "postgres",
    "prometheus",
    "rabbitmq",
    "redis",
    "traefik",
    "zookeeper",
];

/// Returns the service that the work is done in: the one with most that tells of it, of equal ones the first.
pub(super) fn main<'s>(services: &'s [Entry], variables: &Variables) -> Option<&'s Entry> {
    let project = variables.project_name().map(|name| name.value);
    let scored = services.iter().map(|service| (score(service, project.as_deref()), service));
    let mut best: Option<(i32, &Entry)> = None;
    for (score, service) in scored {
        if best.is_none_or(|(most, _)| score > most) {
            best = Some((score, service));
        }
    }
    best.map(|(_, service)| service)
}

fn score(service: &Entry, project: Option<&str>) -> i32 {
    let node = &service.node;
    let mut score = 0;
    if node.get("build").is_some() {
        score += 4;
    }
    if super::gpu::is_wanted(node) {
        score += 4;
    }
    if mounts_project(node) {
        score += 3;
    }
    if USUAL.contains(&service.name.as_str()) || project == Some(service.name.as_str()) {
        score += 2;
    }
    let image = node.get("image").and_then(Node::as_written).unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default().split([':', '@']).next().unwrap_or_default();
    if BESIDE.iter().any(|beside| last.contains(beside)) {
        score -= 6;
    }
    score
}

fn mounts_project(service: &Node) -> bool {
    let Some(Value::List(volumes)) = service.get("volumes").map(|node| &node.value) else { return false };
    volumes.iter().any(|volume| {
        let source = volume.get("source").and_then(Node::as_written);
        let source =
            source.or_else(|| volume.as_written().and_then(|text| text.split_once(':')).map(|(source, _)| source));
        source.is_some_and(|source| matches!(source, "." | "./" | "${PWD}" | "$PWD" | "./."))
    })
}
