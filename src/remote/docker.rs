//! A remote Docker daemon: bollard over the host's SSH session. Only sshd has to be reachable; the socket stays where it is.
//!
//! Every request opens a channel of its own to the socket, which costs one round trip. That keeps upgraded connections (exec)
//! and long answers (logs, events) from standing in each other's way.

use std::future::Future;
use std::pin::Pin;

use bollard::errors::Error;
use bollard::{BollardRequest, ClientVersion, Docker};
use hyper::Response;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use super::ssh::Ssh;

/// Where dockerd listens unless it was told otherwise.
const SOCKET: &str = "/var/run/docker.sock";
/// Longest answer in seconds; waiting for less is the caller's business.
const TIMEOUT_S: u64 = 120;
/// API of Docker Engine 23, the oldest that is supported; newer daemons speak it too.
const API: ClientVersion = ClientVersion { major_version: 1, minor_version: 42 };

/// The daemon of the host that the session leads to.
pub fn connect(ssh: &Ssh) -> Result<Docker, Error> {
    let ssh = ssh.clone();
    let transport = move |request: BollardRequest| -> Answer { Box::pin(send(ssh.clone(), request)) };
    Docker::connect_with_custom_transport(transport, Some("http://docker"), TIMEOUT_S, &API)
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Error>> + Send>>;

async fn send(ssh: Ssh, mut request: BollardRequest) -> Result<Response<Incoming>, Error> {
    let stream = ssh.dial_unix(SOCKET).await.map_err(|e| Error::IOError { err: std::io::Error::other(e) })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer's body, or with the upgraded stream.
    tokio::spawn(connection.with_upgrades());
    // A request to a socket names no host; HTTP/1.1 wants the header all the same.
    request.headers_mut().insert(http::header::HOST, http::HeaderValue::from_static("docker"));
    if let Some(path) = request.uri().path_and_query() {
        *request.uri_mut() =
            path.as_str().parse().map_err(|e| Error::IOError { err: std::io::Error::other(format!("{e}")) })?;
    }
    Ok(sender.send_request(request).await?)
}
