//! One verb per file: arguments -> library call -> report. No command does more than connect the two.

pub mod change;
pub mod completions;
pub mod down;
pub mod drill;
pub mod exec;
pub mod failover;
pub mod forward;
pub mod group;
pub mod guard;
pub mod health;
pub mod host;
pub mod image;
pub mod init;
pub mod lab;
pub mod logs;
pub mod man;
pub mod new;
pub mod password;
pub mod plan;
pub mod psql;
pub mod render;
pub mod rounds;
pub mod scale;
pub mod schema;
pub mod session;
pub mod shards;
pub mod status;
pub mod switchover;
pub mod topology;
pub mod traffic;
pub mod up;
pub mod vector;
pub mod work;

use crate::cli::{Command, Format};
use crate::context::Context;
use crate::error::{CommandError, Exit};

/// Runs the command that was given.
pub async fn run(context: &Context, command: &Command) -> Result<Exit, CommandError> {
    if context.format == Format::Junit && !matches!(command, Command::Drill(_)) {
        let error = CommandError::new(Exit::Usage, "only drills have results in the format junit");
        return Err(error.hint("use --format json"));
    }
    match command {
        Command::New(args) => new::run(context, args).await,
        Command::Topology(command) => topology::run(context, *command).await,
        Command::Render(args) => render::run(context, args).await,
        Command::Plan(args) => plan::run(context, args).await,
        Command::Init(args) => init::run(context, args).await,
        Command::Image(command) => image::run(context, command).await,
        Command::Up(args) => up::run(context, args).await,
        Command::Down(args) => down::run(context, args).await,
        Command::Status(args) => status::run(context, args).await,
        Command::Health(args) => health::run(context, args).await,
        Command::Host(command) => host::run(context, command).await,
        Command::Failover(args) => failover::run(context, args).await,
        Command::Switchover(args) => switchover::run(context, args).await,
        Command::Shards(command) => shards::run(context, command).await,
        Command::Scale(command) => scale::run(context, command).await,
        Command::Schema(command) => schema::run(context, command).await,
        Command::Activity(args) => traffic::activity(context, args).await,
        Command::Locks(args) => traffic::locks(context, args).await,
        Command::Tenants(args) => traffic::tenants(context, args).await,
        Command::Tx(command) => traffic::tx(context, command).await,
        Command::Vector(command) => vector::run(context, command).await,
        Command::Psql(args) => psql::run(context, args).await,
        Command::Password(args) => password::run(context, args).await,
        Command::Logs(args) => logs::run(context, args).await,
        Command::Exec(args) => exec::run(context, args).await,
        Command::Forward(args) => forward::run(context, args).await,
        Command::Lab(command) => lab::run(context, command).await,
        Command::Drill(command) => drill::run(context, command).await,
        Command::Guard(args) => guard::run(context, args).await,
        Command::Completions(args) => completions::run(context, args).await,
        Command::Man(args) => man::run(context, args).await,
    }
}
