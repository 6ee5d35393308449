//! Connections: accepted under a limit, with TLS where there is a certificate, and ended in order.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::limits::{DRAIN_LIMIT, HEADER_READ_TIMEOUT, MAX_CONNECTIONS, MAX_HEAD_BYTES, MAX_HEADERS, MAX_STREAMS};
use super::metrics::Metrics;
use super::tls::HANDSHAKE;

/// How long to pause when the system has no more descriptors: accepting at once fails again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What answers requests.
pub(super) trait Respond: Clone + Send + Sync + 'static {
    /// Answers one request of `peer`.
    fn respond(&self, request: Request<Body>, peer: SocketAddr) -> impl Future<Output = Response> + Send;
}

/// Takes connections until `stop`, then lets those under way end, for a limited time.
pub(super) async fn serve<R: Respond>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    service: R,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            // Finished connections are collected, so that the set does not grow.
            Some(_) = connections.join_next() => continue,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (service, tls, metrics, stop) = (service.clone(), tls.clone(), metrics.clone(), stop.clone());
                connections.spawn(async move {
                    let _permit = permit;
                    let _inside = metrics.connected();
                    connection(stream, peer, tls, service, stop).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "A connection cannot be accepted.");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // The port is free for a successor from here on.
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_LIMIT, drained).await.is_err() {
        tracing::warn!("Some connections did not end in time and are cut.");
    }
}

async fn connection<R: Respond>(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    service: R,
    stop: CancellationToken,
) {
    // Answers are small and whole: waiting to fill a segment only delays them.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return speak(stream, peer, service, stop).await };
    match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => speak(stream, peer, service, stop).await,
        Ok(Err(error)) => tracing::debug!(%error, %peer, "A TLS handshake failed."),
        Err(_) => tracing::debug!(%peer, "A TLS handshake took too long."),
    }
}

async fn speak<S, R>(stream: S, peer: SocketAddr, service: R, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: Respond,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
        .keep_alive_interval(HEADER_READ_TIMEOUT)
        .keep_alive_timeout(HEADER_READ_TIMEOUT);
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.respond(request.map(Body::new), peer).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, %peer, "A connection ended in an error.");
    }
}
