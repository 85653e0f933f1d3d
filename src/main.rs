//! The `pgclusterctl` program: parse, run, turn Ctrl-C into a request, turn the outcome into an exit code.

use std::process::ExitCode;

use clap::Parser;
use pgclusterctl::cli::Cli;
use pgclusterctl::commands;
use pgclusterctl::context::Context;
use pgclusterctl::error::{self, Exit};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let context = Context::new(&cli.global);
    let exit = tokio::select! {
        outcome = commands::run(&context, &cli.command) => match outcome {
            Ok(exit) => exit,
            Err(error) => {
                let error = context.interrupt.explain(error);
                error::report(&error, context.ui.color_stderr());
                error.exit()
            }
        },
        exit = interrupted(&context) => exit,
    };
    // Threads that still wait for a lost host must not keep the program alive.
    std::process::exit(exit as i32)
}

/// Waits for Ctrl-C. Guarded work is asked to stop and ends by itself with its own report; a second Ctrl-C, or unguarded
/// work, ends the program at once.
async fn interrupted(context: &Context) -> Exit {
    for pressed in 0..2 {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without a signal handler the default action of SIGINT ends the program anyway.
            std::future::pending::<()>().await;
        }
        if pressed > 0 || !context.interrupt.is_guarded() {
            break;
        }
        context.interrupt.ask();
        context.ui.note("Interrupted: finishing the current step. Press Ctrl-C again to stop at once.");
    }
    // Bars would be drawn over the line that follows.
    let _ = context.ui.progress().clear();
    context.ui.progress().set_draw_target(indicatif::ProgressDrawTarget::hidden());
    eprintln!("interrupted");
    Exit::Interrupted
}
