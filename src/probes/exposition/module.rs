//! A probe as a module: the target, and perhaps the name, come with each request.

use crate::api::{ProbeSpec, WebhookHeader};
use crate::probes::{SpecError, bind};

/// Why a module cannot be asked about a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// The target is none for this kind.
    #[error("`{target}` is no target of this module: {error}")]
    Target {
        /// The target.
        target: String,
        /// What is wrong.
        error: SpecError,
    },
    /// The module names another host than the request.
    #[error("the module sends the header Host: {own}, and `hostname` is {asked}")]
    Host {
        /// The module's.
        own: String,
        /// The request's.
        asked: String,
    },
}

/// The spec of a module at one target. `hostname` is what an http module sends as its header `Host`,
/// and what its certificate, or that of a tcp module, is for.
///
/// # Errors
/// Any of [`ModuleError`].
pub fn at_target(spec: &ProbeSpec, target: &str, hostname: Option<&str>) -> Result<ProbeSpec, ModuleError> {
    let whole = match () {
        () if spec.http.is_some() && !target.contains("://") => format!("http://{target}"),
        () if spec.websocket.is_some() && !target.contains("://") => format!("ws://{target}"),
        // Of a URL only host and port are of interest here.
        () if spec.grpc.is_some() => {
            let bare = target.split_once("://").map_or(target, |(_, bare)| bare);
            bare.split('/').next().unwrap_or(bare).to_owned()
        }
        () => target.to_owned(),
    };
    let mut bound = bind(spec, &whole).map_err(|error| ModuleError::Target { target: target.to_owned(), error })?;
    if let Some(grpc) = &mut bound.grpc {
        // The authority is the target's, unless the module has one.
        grpc.authority.clone_from(&spec.grpc.as_ref().and_then(|grpc| grpc.authority.clone()));
    }
    if let Some(hostname) = hostname {
        named(&mut bound, hostname)?;
    } else {
        host_of_header(&mut bound);
    }
    Ok(bound)
}

fn named(bound: &mut ProbeSpec, hostname: &str) -> Result<(), ModuleError> {
    if let Some(http) = &mut bound.http {
        let own = http.headers.iter().find(|header| header.name.eq_ignore_ascii_case("host"));
        match own.and_then(|header| header.value.as_deref()) {
            Some(own) if own != hostname => {
                return Err(ModuleError::Host { own: own.to_owned(), asked: hostname.to_owned() });
            }
            Some(_) => {}
            None => {
                let value = Some(hostname.to_owned());
                http.headers.push(WebhookHeader { name: "Host".to_owned(), value, ..WebhookHeader::default() });
            }
        }
        http.tls.get_or_insert_default().server_name.get_or_insert(hostname.to_owned());
    } else if let Some(tls) = bound.tcp.as_mut().and_then(|tcp| tcp.tls.as_mut()) {
        tls.server_name.get_or_insert(hostname.to_owned());
    }
    Ok(())
}

/// The certificate of an http module with a header `Host` is that host's, as there.
fn host_of_header(bound: &mut ProbeSpec) {
    let Some(http) = &mut bound.http else { return };
    let own = http.headers.iter().find(|header| header.name.eq_ignore_ascii_case("host"));
    let Some(host) = own.and_then(|header| header.value.as_deref()) else { return };
    let host = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(host, _)| host);
    let host = host.to_owned();
    if http.url.starts_with("https:") {
        http.tls.get_or_insert_default().server_name.get_or_insert(host);
    }
}
