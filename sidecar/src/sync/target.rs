//! A folder somewhere that can be made equal to ours.
