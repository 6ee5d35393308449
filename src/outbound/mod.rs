//! HTTP out: one client, one root store, one guard.
