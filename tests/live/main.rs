//! Tests against real programs: OpenSSH, rsync, other people's watchers. Each skips loudly when its
//! counterpart is missing, and fails instead under `MLT_LIVE=1`.

mod reached;
mod story;
mod versions;

mod anywhere;
mod builds;
mod config;
mod crashes;
mod cuts;
mod differential;
mod editor;
mod faults;
mod flips;
mod hooks;
mod host;
mod hostile;
mod input;
mod kills;
mod lasting;
mod limits;
mod logins;
mod owner;
mod pull;
mod repository;
mod secrets;
mod shortages;
mod ssh_config;
mod sync;
mod terminal;
mod traps;
mod trial;
mod watchers;
mod without_agent;
