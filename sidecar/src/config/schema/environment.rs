//! The keys of `environment`, and of a profile.

use std::collections::BTreeMap;

use super::super::setting::{Kind, Reading, Setting, Whole, choice, section};
use super::super::tree::{Node, Value};
use super::super::units::{DriverVersion, FilePath, Image, Name, PortMapping, Scalar, Volume};

section! {
    /// The container that a project runs in.
    Environment {
        /// The image that the container is started from.
        base_image: Option<Image>, "pytorch/pytorch:2.4.0-cuda12.4-cudnn9-runtime";
        /// The Dockerfile that its image is built from.
        dockerfile: Option<FilePath>, "./Dockerfile";
        /// The `devcontainer.json` that describes it.
        devcontainer: Option<FilePath>, ".devcontainer/devcontainer.json";
        /// Environment variables. A value may hold `${secret:NAME}` and `${env:NAME}`; `null` takes back one of a weaker layer.
        env: BTreeMap<String, Scalar>, "{WANDB_PROJECT: myproject, WANDB_API_KEY: \"${secret:wandb_api_key}\"}";
        /// Files with environment variables, one `NAME=value` per line; `env` wins over them.
        env_file: EnvFiles, ".env";
        /// The profile of the user's or the machine's file whose variables are used; `env` and `env_file` win over them.
        profile: Option<Name>, "ml-research";
        /// What is mounted into it, `SOURCE:TARGET` with `:ro` for what is only read. Sources may be relative, or hold `~` and `${HOME}`.
        volumes: Vec<Volume>, "[\"./data:/workspace/data\", \"~/.gitconfig:/root/.gitconfig:ro\"]";
        /// Ports that are published, `HOST:CONTAINER`.
        ports: Vec<PortMapping>, "[\"8888:8888\", \"2222:22\"]";
        /// The GPUs that it sees.
        gpu: Gpu, "{count: 1, driver_version: \">=525.0\"}";
        /// How it is connected to the network.
        network_mode: NetworkMode = "bridge", "host";
    }
}

section! {
    /// The GPUs of a container.
    Gpu {
        /// How many.
        count: Whole<0, 64> = "1", "2";
        /// The driver that it needs.
        driver_version: Option<DriverVersion>, "\">=525.0\"";
    }
}

section! {
    /// A set of environment variables with a name.
    Profile {
        /// The variables.
        env: BTreeMap<String, Scalar>, "{HF_HOME: /data/huggingface}";
    }
}

choice! {
    /// How a container is connected to the network.
    NetworkMode {
        /// A network of its own, reached by published ports.
        Bridge = "bridge";
        /// The network of its machine.
        Host = "host";
    }
}

/// One file with environment variables, or several: later ones win.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvFiles(pub Vec<FilePath>);

impl Setting for EnvFiles {
    fn kind() -> Kind {
        Kind::Either(vec![FilePath::kind(), Vec::<FilePath>::kind()])
    }

    fn read(node: &Node, reading: &mut Reading) -> Option<Self> {
        match node.value {
            Value::List(_) => Vec::read(node, reading).map(Self),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => {
                FilePath::read(node, reading).map(|path| Self(vec![path]))
            }
        }
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}
