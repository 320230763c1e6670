//! Pure: stops a plan that looks like an accident.
