//! Probes against the real servers that Debian has.

mod dns;
mod exporter;
mod grpc;
mod http;
mod icmp;
mod library;
mod script;
pub mod servers;
mod tcp;
mod tls;
mod udp;
mod websocket;
pub mod world;

use std::net::TcpStream;

use crate::checks::peers::Authority;
use servers::Real;

#[tokio::test]
async fn a_real_server_answers_and_is_gone_with_its_value() {
    let authority = Authority::new();
    let servers = [
        Real::nginx_with(&authority).await,
        Real::redis().await,
        Real::postgres(&authority).await,
        Real::mariadb().await,
        Real::etcd().await,
        Real::smtp(&authority).await,
        Real::named(7, &authority).await,
        Real::unbound(7, &authority).await,
        Real::tinyproxy().await,
        Real::registry().await,
        Real::prometheus().await,
        Real::blackbox().await,
    ];
    for server in servers {
        let address = server.address();
        assert!(TcpStream::connect(&address).is_ok(), "{address}");
        drop(server);
        assert!(TcpStream::connect(&address).is_err(), "{address} still answers");
    }
}
