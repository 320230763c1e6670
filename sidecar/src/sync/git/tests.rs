//! What is sent of a repository, when, and in which order.
