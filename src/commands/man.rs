//! `man`: the manual page.

use std::path::PathBuf;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for one page per command; without it the main page goes to stdout.
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Runs the command.
pub async fn run(context: &Context, args: &Args) -> Result<Exit, CommandError> {
    let unwritten =
        |what: String| move |e: std::io::Error| CommandError::new(Exit::Internal, format!("{what}: cannot be written: {e}"));
    match &args.output {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(unwritten("the manual page".into()))?;
            context.ui.print(&String::from_utf8_lossy(&page));
        }
        Some(dir) => {
            let failed = unwritten(dir.display().to_string());
            std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir)).map_err(failed)?;
            context.ui.note(format!("Manual pages are in {}", dir.display()));
        }
    }
    Ok(Exit::Ok)
}
