//! The keys of `agent.yaml`: read and checked; the agent goes by flags of its own so far.

use super::super::setting::{Whole, choice, section};
use super::super::units::{FilePath, Image, Interval, Name, Reference, Size};

section! {
    /// The configuration of the agent on a machine, `agent.yaml`.
    Agent {
        /// The project that the machine works for.
        project: AgentProject, "{container_name: myproject-dev}";
        /// The agent's server for the relay.
        relay: AgentRelay, "{enabled: true}";
        /// SSH into the container.
        ssh: AgentSsh, "{enabled: true}";
        /// What is measured.
        metrics: AgentMetrics, "{collect_interval: 10s}";
        /// The agent's log.
        logging: AgentLogging, "{level: INFO}";
    }
}

section! {
    /// The project that a machine works for.
    AgentProject {
        /// The project's name.
        name: Option<Name>, "myproject";
        /// The project's container; found by its label when none is named.
        container_name: Option<Name>, "myproject-dev";
        /// The image of the container.
        image: Option<Image>, "pytorch/pytorch:2.4.0-cuda12.4-cudnn9-runtime";
        /// The Dockerfile of the container.
        dockerfile: Option<FilePath>, "./Dockerfile";
        /// The compose file of the container.
        compose_file: Option<FilePath>, "./docker-compose.yml";
    }
}

section! {
    /// The agent's server for the relay. It listens on the loopback only.
    AgentRelay {
        /// Whether the agent serves a relay.
        enabled: bool = "false", "true";
        /// The port on the loopback.
        port: Whole<1, 65535> = "7777", "7777";
        /// What the relay has to know, as a reference to a secret.
        auth_token: Option<Reference>, "\"${MLTOOLBOX_RELAY_TOKEN}\"";
    }
}

section! {
    /// SSH into the container.
    AgentSsh {
        /// Whether the container can be reached by SSH.
        enabled: bool = "false", "true";
        /// The port on the machine's loopback.
        port: Whole<1, 65535> = "2222", "2222";
        /// The shell of a login; found in the container when none is named.
        shell: Option<FilePath>, "/bin/zsh";
    }
}

section! {
    /// What is measured.
    AgentMetrics {
        /// How often.
        collect_interval: Interval = "10s", "10s";
        /// Whether GPUs are.
        gpu: bool = "true", "false";
        /// Whether disks are.
        disk: bool = "true", "false";
        /// Whether the network is.
        network: bool = "true", "false";
    }
}

section! {
    /// The agent's log.
    AgentLogging {
        /// The least important messages that are written.
        level: Level = "INFO", "INFO";
        /// Whether a log that is full is put aside for a new one.
        rotate: bool = "true", "true";
        /// The size at which a log is full.
        max_size: Size = "100MB", "100MB";
    }
}

choice! {
    /// How important a message is.
    Level {
        /// What failed.
        Error = "ERROR" | "error";
        /// And what may be wrong.
        Warning = "WARNING" | "warning" | "WARN" | "warn";
        /// And what happened.
        Info = "INFO" | "info";
        /// And each step.
        Debug = "DEBUG" | "debug";
    }
}
