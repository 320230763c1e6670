use std::sync::Arc;

use agent::serve::{Agent, Config};

use super::*;
use crate::transport::local;

async fn link() -> Link {
    let agent = Arc::new(Agent::new(Config { log: None }));
    let (reader, writer) = tokio::io::split(local::dial(&agent));
    Link::open(reader, writer).await.expect("the agent in this process answers")
}

#[tokio::test]
async fn asks_and_is_answered() {
    let link = link().await;
    assert!(!link.facts().os.is_empty());
    let reply = link.call(Request::Health).await.expect("an answer");
    assert!(matches!(reply, Reply::Health(health) if health.links == 1 && health.pid == std::process::id()));
}

#[tokio::test]
async fn many_questions_overlap() {
    let link = Arc::new(link().await);
    let asked: Vec<_> = (0..1000)
        .map(|_| {
            let link = Arc::clone(&link);
            tokio::spawn(async move { link.call(Request::Health).await })
        })
        .collect();
    for answer in asked {
        assert!(matches!(answer.await.expect("no panic"), Ok(Reply::Health(_))));
    }
}

#[tokio::test]
async fn an_unknown_root_is_an_answer() {
    let link = link().await;
    let reply = link.call(Request::Flush { root: 7 }).await.expect("an answer");
    assert!(matches!(reply, Reply::Failed(error) if error.code == protocol::error::Code::SyncRoot));
}
