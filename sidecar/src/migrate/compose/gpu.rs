//! How many GPUs a service is given, in each of the ways that compose has for it.

use super::{Reading, Said};
use crate::config::tree::{Node, Value};

/// Whether a service wants a GPU.
pub(super) fn is_wanted(service: &Node) -> bool {
    service.get("gpus").is_some() || is_nvidia(service) || reserved(service).next().is_some()
}

/// Returns how many GPUs a service is given; none unless it says so.
pub(super) fn count(reading: &mut Reading<'_>, service: &Node) -> Said<u64> {
    let mut total = 0;
    let mut all: Option<&Node> = None;
    let mut origin = reading.origin(service);
    let asked: Vec<&Node> = match service.get("gpus") {
        Some(Node { value: Value::List(devices), .. }) => devices.iter().collect(),
        Some(node) => {
            origin = reading.origin(node);
            all = Some(node);
            Vec::new()
        }
        None => Vec::new(),
    };
    for device in asked.into_iter().chain(reserved(service)) {
        origin = reading.origin(device);
        let ids = match device.get("device_ids").map(|node| &node.value) {
            Some(Value::List(ids)) => Some(ids.len() as u64),
            _ => None,
        };
        let number = device.get("count").and_then(Node::as_written).and_then(|count| count.parse::<u64>().ok());
        match ids.or(number) {
            Some(number) => total += number,
            None => all = Some(device),
        }
    }
    if let Some(node) = service.get("runtime").filter(|_| total == 0 && all.is_none() && is_nvidia(service)) {
        origin = reading.origin(node);
        all = Some(node);
    }
    if let Some(node) = all {
        let why = "here a number is needed; 1 is written, change `environment.gpu.count` if it is more";
        reading.leave(node, "all GPUs of the machine", why);
        total = total.max(1);
    }
    Said::new(total.min(64), &origin)
}

fn is_nvidia(service: &Node) -> bool {
    service.get("runtime").and_then(Node::as_written) == Some("nvidia")
}

/// Returns the reserved devices that are GPUs.
fn reserved(service: &Node) -> impl Iterator<Item = &Node> {
    let devices = service.at(["deploy", "resources", "reservations", "devices"]);
    let devices = match devices.map(|node| &node.value) {
        Some(Value::List(devices)) => devices.as_slice(),
        _ => &[],
    };
    devices.iter().filter(|device| {
        let nvidia = device.get("driver").and_then(Node::as_written) == Some("nvidia");
        let capable = match device.get("capabilities").map(|node| &node.value) {
            Some(Value::List(capabilities)) => capabilities.iter().any(|item| item.as_written() == Some("gpu")),
            _ => false,
        };
        nvidia || capable
    })
}
