//! Every environment variable that is read, declared once.
