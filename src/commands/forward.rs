//! `forward`: a port of a member on the loopback of this machine.

use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;

use super::session::Session;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::remote::relay;

/// Arguments of `forward`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Member, etcd member or proxy service.
    pub member: String,
    /// Port of the member.
    pub port: u16,
    /// Port on 127.0.0.1. Default: a free one.
    #[arg(long)]
    pub local: Option<u16>,
}

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let session = Session::open(context).await?;
    // Ask once before listening: a member that does not run should be heard of now.
    session.fleet.member(&session.topology, &args.member).await?;
    let local = format!("127.0.0.1:{}", args.local.unwrap_or(0));
    let failed = |e| CommandError::new(Exit::Refused, format!("{local}: cannot listen: {e}"));
    let listener = TcpListener::bind(&local).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    context.ui.print(&format!("{address}\n"));
    context.ui.note(format!("{address} leads to port {} of {}, until Ctrl-C", args.port, args.member));
    loop {
        let Ok((mut socket, _)) = listener.accept().await else { continue };
        let reached = async {
            // Looked up for each connection: the container changes when the service is updated.
            let container = session.fleet.member(&session.topology, &args.member).await.map_err(|e| e.to_string())?;
            relay::tcp(&container, "127.0.0.1", args.port).await.map_err(|e| e.to_string())
        };
        match reached.await {
            Ok(mut stream) => {
                let ui = context.ui.clone();
                tokio::spawn(async move {
                    if let Err(error) = copy_bidirectional(&mut socket, &mut stream).await {
                        ui.note(format!("a connection ended: {error}"));
                    }
                });
            }
            Err(reason) => context.ui.warn(format!("{}: {reason}", args.member)),
        }
    }
}
