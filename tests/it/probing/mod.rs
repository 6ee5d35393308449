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
async fn every_real_server_answers_as_soon_as_it_is_there() {
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
    }
}
