//! Pure: the variables of the profile that `environment.profile` names, as a layer beneath all that is said elsewhere.

use super::layers;
use super::problem::Problem;
use super::tree::{Node, Value};

/// Returns the weakest layer: the variables of the profile that is named; `None` when none is.
pub fn layer(root: &Node) -> Result<Option<Node>, Problem> {
    let Some(chosen) = root.at(["environment", "profile"]) else { return Ok(None) };
    let name = chosen.as_written().unwrap_or_default();
    let known = root.get("profiles").map(Node::entries).unwrap_or_default();
    let Some(profile) = known.iter().find(|entry| entry.name == name) else {
        let names: Vec<&str> = known.iter().map(|entry| entry.name.as_str()).collect();
        let fix = match crate::sessions::nearest(name, names.iter().map(|name| (*name).to_owned())) {
            Some(nearest) => format!("Write `profile: {nearest}`."),
            None if names.is_empty() => format!(
                "Write it to `~/.config/mltoolbox/config.yaml`, as in `profiles: {{{name}: {{env: {{HF_HOME: /data}}}}}}`."
            ),
            None => format!("Name one of `{}`, or write it to `~/.config/mltoolbox/config.yaml`.", names.join("`, `")),
        };
        let (place, key) = (chosen.place.clone(), "environment.profile".to_owned());
        return Err(Problem { place, key, reason: format!("there is no profile `{name}`"), fix });
    };
    let mut layer = Node::new(Value::Map(Vec::new()), profile.place.clone());
    if let Some(env) = profile.node.get("env") {
        layers::insert(&mut layer, &["environment", "env"], env.clone());
    }
    Ok(Some(layer))
}
