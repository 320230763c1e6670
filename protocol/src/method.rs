//! What a command is called and what it takes and gives, as types.

use serde::{Serialize, de::DeserializeOwned};

#[cfg(feature = "cli")]
/// What parameters must be able to do: travel as JSON, and be read from a command line.
pub trait Params: Serialize + DeserializeOwned + clap::Args + schema::Described + Send + 'static {}
#[cfg(feature = "cli")]
impl<T: Serialize + DeserializeOwned + clap::Args + schema::Described + Send + 'static> Params for T {}

#[cfg(not(feature = "cli"))]
/// What parameters must be able to do: travel as JSON.
pub trait Params: Serialize + DeserializeOwned + schema::Described + Send + 'static {}
#[cfg(not(feature = "cli"))]
impl<T: Serialize + DeserializeOwned + schema::Described + Send + 'static> Params for T {}

/// What an answer must be able to do: travel as JSON.
pub trait Output: Serialize + DeserializeOwned + schema::Described + Send + 'static {}
impl<T: Serialize + DeserializeOwned + schema::Described + Send + 'static> Output for T {}

/// A request that editors, scripts and the command line can make of the sidecar.
pub trait Method: 'static {
    /// `noun/verb`; on the wire it is prefixed with `mltoolbox/`.
    const NAME: &'static str;
    /// What it takes.
    type Params: Params;
    /// What it answers.
    type Output: Output;
}

/// A message that the sidecar sends without being asked.
pub trait Notice: 'static {
    /// The full method name on the wire.
    const NAME: &'static str;
    /// What it says.
    type Params: Serialize + DeserializeOwned + Send;
}

/// The optional bound on a JSON Schema, so that the agent can link this crate without one.
pub mod schema {
    #[cfg(feature = "schema")]
    /// A type whose JSON Schema is known.
    pub trait Described: schemars::JsonSchema {}
    #[cfg(feature = "schema")]
    impl<T: schemars::JsonSchema> Described for T {}

    #[cfg(not(feature = "schema"))]
    /// A type whose JSON Schema is known; without the feature `schema` every type passes.
    pub trait Described {}
    #[cfg(not(feature = "schema"))]
    impl<T> Described for T {}
}
