//! Where nobody is asked for a token.

use std::net::{IpAddr, SocketAddr};

use super::AccessError;

/// Whether listeners on `addresses` may go without a file of tokens: only this machine reaches
/// them.
///
/// # Errors
/// [`AccessError::Exposed`] with the first address that others reach, and the flags to change.
pub fn require_loopback(addresses: &[SocketAddr]) -> Result<(), AccessError> {
    match addresses.iter().find(|address| !is_loopback(address.ip())) {
        Some(address) => Err(AccessError::Exposed { address: *address }),
        None => Ok(()),
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("127.0.0.1:80", true)]
    #[case("127.9.9.9:80", true)]
    #[case("[::1]:80", true)]
    #[case("[::ffff:127.0.0.1]:80", true)]
    #[case("0.0.0.0:80", false)]
    #[case("[::]:80", false)]
    #[case("10.0.0.1:80", false)]
    fn only_loopback_goes_without_tokens(#[case] address: SocketAddr, #[case] allowed: bool) {
        assert_eq!(require_loopback(&[address]).is_ok(), allowed);
    }

    #[test]
    fn the_refusal_names_the_flags() {
        let message = require_loopback(&["0.0.0.0:8080".parse().unwrap()]).unwrap_err().to_string();
        assert!(message.contains("--tokens") && message.contains("--listen"), "{message}");
    }
}
