//! Connections into the overlay network: SSH -> Docker's socket -> `socat` in a container. No port has to be open for them.

use bollard::errors::Error;

use super::container::Container;
use super::exec::{self, ExecStream};

/// Socket of PostgreSQL in the node image.
const POSTGRES: &str = "UNIX-CONNECT:/var/run/postgresql/.s.PGSQL.5432";
/// Bytes that socat moves at once; its default of 8 KiB makes large results slow.
const BLOCK: &str = "65536";

/// Connects to a port as this container sees it; `name` may be any alias of its networks.
pub async fn tcp(container: &Container, name: &str, port: u16) -> Result<ExecStream, Error> {
    let target = format!("TCP:{name}:{port},connect-timeout=2,nodelay");
    exec::stream(&container.docker, &container.id, "", &["socat", "-b", BLOCK, "-", &target]).await
}

/// Connects to PostgreSQL's local socket as the system user postgres, whom it believes (peer authentication).
pub async fn postgres(container: &Container) -> Result<ExecStream, Error> {
    exec::stream(&container.docker, &container.id, "postgres", &["socat", "-b", BLOCK, "-", POSTGRES]).await
}

/// Connects to PgBouncer's local socket as the system user that runs it, who may administer it.
pub async fn pgbouncer(container: &Container) -> Result<ExecStream, Error> {
    let socket = "UNIX-CONNECT:/run/pgbouncer/.s.PGSQL.6432";
    exec::stream(&container.docker, &container.id, "postgres", &["socat", "-", socket]).await
}

/// Connects to HAProxy's administration socket.
pub async fn haproxy(container: &Container) -> Result<ExecStream, Error> {
    exec::stream(&container.docker, &container.id, "", &["socat", "-", "UNIX-CONNECT:/run/haproxy/admin.sock"]).await
}
