//! The agent's verbs: proxy and serve for the sidecar, the rest for people.
