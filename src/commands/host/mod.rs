//! `host`: the hosts of a cluster that runs.

mod remove;
mod replace;

use std::io::Write;
use std::path::Path;

use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::topology::HostName;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Put another host in the place of one that is lost for good.
    Replace(replace::Args),
    /// Take a host out that is alive and not needed any more.
    Remove(remove::Args),
}

/// Runs the command.
pub async fn run(context: &Context, command: &Command) -> Result<Exit, CommandError> {
    match command {
        Command::Replace(args) => replace::run(context, args).await,
        Command::Remove(args) => remove::run(context, args).await,
    }
}

fn name(text: &str) -> Result<HostName, String> {
    HostName::new(text).map_err(|e| e.to_string())
}

/// Replaces the file as a whole, so that nobody ever reads half of one; a link stays a link.
fn write(path: &Path, text: &str, edited: &str) -> Result<(), CommandError> {
    if edited == text {
        return Ok(());
    }
    let replace = || {
        let path = path.canonicalize()?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(edited.as_bytes())?;
        file.as_file().set_permissions(std::fs::metadata(&path)?.permissions())?;
        file.persist(&path).map(drop).map_err(|e| e.error)
    };
    replace().map_err(|e: std::io::Error| {
        CommandError::new(Exit::Refused, format!("{} cannot be written: {e}", path.display()))
            .hint("run this again when it can be: it goes on from what is there")
    })
}
