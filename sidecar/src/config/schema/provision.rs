//! The keys of `provision` and `watch`: read and checked; nothing is rented by this version.

use std::collections::BTreeMap;

use super::super::setting::{Kind, Reading, Setting, Whole, choice, section};
use super::super::tree::{Node, Value};
use super::super::units::{Name, Reference};

section! {
    /// How a machine is rented.
    Provision {
        /// Whether a machine is rented when there is none.
        auto: bool = "false", "true";
        /// What the machine has to have.
        requirements: Requirements, "{gpu_type: A100, gpu_count: 1, min_ram_gb: 64, region: us-west}";
        /// Which of the offers is taken.
        strategy: ProvisionStrategy = "price", "availability";
        /// The providers to take first, in order.
        prefer_backends: Vec<Name>, "[shadeform, lambda]";
        /// Commands that set a new machine up, in order; `{{ repo_url }}` is the address of the project's repository.
        setup: Vec<String>, "[\"git clone {{ repo_url }}\", mltoolbox agent install]";
        /// The providers, by name.
        backends: BTreeMap<String, Backend>, "{lambda: {enabled: true, api_key: \"${secret:lambda_api_key}\"}}";
    }
}

section! {
    /// What a machine has to have.
    Requirements {
        /// The model of its GPUs.
        gpu_type: Option<Name>, "A100";
        /// How many of them.
        gpu_count: Whole<0, 64> = "1", "2";
        /// Its memory, in GB.
        min_ram_gb: Option<Whole<1, 100_000>>, "64";
        /// Where it stands.
        region: Option<Name>, "us-west";
    }
}

section! {
    /// One provider.
    Backend {
        /// Whether it is asked.
        enabled: Option<bool>, "true";
        /// The key of its interface, as a reference to a secret.
        api_key: Option<Reference>, "${secret:lambda_api_key}";
    }
}

choice! {
    /// Which of the offers is taken.
    ProvisionStrategy {
        /// The cheapest.
        Price = "price";
        /// The one that is had soonest.
        Availability = "availability";
        /// The fastest.
        Performance = "performance";
    }
}

section! {
    /// Waiting for a machine that is not to be had now.
    Watch {
        /// Whether somebody waits.
        enabled: bool = "false", "true";
        /// The machines that are waited for, by the provider's names.
        instance_types: Vec<Name>, "[gpu_1x_a100_sxm4]";
        /// What is done when one is there.
        on_available: OnAvailable, "{provision: true, setup: true, notify: slack}";
    }
}

section! {
    /// What is done when a machine is there.
    Actions {
        /// Whether it is rented.
        provision: Option<bool>, "true";
        /// Whether the commands of `provision.setup` run on it.
        setup: Option<bool>, "true";
        /// The plugin that tells of it.
        notify: Option<Name>, "slack";
    }
}

/// What is done when a machine is there. A list of maps means the same as the one map of all they hold.
#[derive(Clone, Debug, PartialEq)]
pub struct OnAvailable(pub Actions);

impl Setting for OnAvailable {
    fn kind() -> Kind {
        Kind::Either(vec![Actions::kind(), Kind::List(Box::new(Actions::kind()))])
    }

    fn read(node: &Node, reading: &mut Reading) -> Option<Self> {
        let Value::List(items) = &node.value else { return Actions::read(node, reading).map(Self) };
        let read: Vec<Option<Actions>> = items.iter().map(|item| Actions::read(item, reading)).collect();
        let mut all = Actions::absent()?;
        for actions in read {
            let Actions { provision, setup, notify } = actions?;
            all = Actions {
                provision: provision.or(all.provision),
                setup: setup.or(all.setup),
                notify: notify.or(all.notify),
            };
        }
        Some(Self(all))
    }

    fn absent() -> Option<Self> {
        Actions::absent().map(Self)
    }
}
