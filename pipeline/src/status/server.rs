//! The HTTP side of a run: `/metrics` for Prometheus, `/healthz` for probes, `/` for a person who looks in.

use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::header;
use axum::routing::get;
use tokio::sync::oneshot;

use super::Exporter;
use crate::config::DEFAULT_METRICS_ADDR;

/// A running server; it stops when dropped.
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Where it listens; the port is the one that was given, or the one found for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves the meters on `address`; `off` serves none. The default address busy is a warning, another one an error.
pub fn serve(address: &str, exporter: Exporter) -> Result<Option<Server>> {
    if address == "off" {
        return Ok(None);
    }
    match TcpListener::bind(address) {
        Ok(listener) => start(listener, exporter).map(Some),
        Err(error) if address == DEFAULT_METRICS_ADDR => {
            tracing::warn!("no meters are served: {address} cannot be bound ({error}); choose another --metrics_addr");
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| {
            format!("--metrics_addr {address} cannot be bound; choose a free port, port 0 for any, or off")
        }),
    }
}

fn start(listener: TcpListener, exporter: Exporter) -> Result<Server> {
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name("meters".into()).spawn(move || {
        runtime.block_on(async move {
            let result = async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let end = async {
                    let _ = stopped.await;
                };
                axum::serve(listener, routes(exporter)).with_graceful_shutdown(end).await
            };
            if let Err(error) = result.await {
                tracing::warn!("the meters are no longer served: {error}");
            }
        });
    })?;
    tracing::info!("meters on http://{address}/metrics");
    Ok(Server { address, stop: Some(stop), thread: Some(thread) })
}

fn routes(exporter: Exporter) -> Router {
    let metrics = move || {
        let exporter = exporter.clone();
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], exporter.render()) }
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/", get(|| async { "mugs-pipeline: /metrics for Prometheus, /healthz for probes\n" }))
}
