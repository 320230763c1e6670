//! Where log lines go: a file, and standard error when asked for. Never standard output.
