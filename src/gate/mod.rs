//! The module `gate`.
