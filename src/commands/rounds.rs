//! Looking at the whole cluster, once or again and again: what `status` and `health` share.

use std::time::{Duration, Instant};

use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::health::Condition;
use crate::observe::{Observed, Scope, observe};
use crate::output::Report;
use crate::output::screen::Screen;
use crate::remote::fleet::Fleet;
use crate::topology::Topology;

/// From one look to the next with `--watch`.
const EVERY: Duration = Duration::from_secs(2);

/// Looks, reports, and with `watch` does so until interrupted. `make` judges what was seen.
pub async fn run<R: Report>(
    context: &Context,
    watch: bool,
    make: impl Fn(&Topology, &Observed) -> (R, Condition),
) -> Result<Exit, CommandError> {
    let topology = context.topology()?;
    let mut fleet = Fleet::connect_quickly(&topology).await;
    let mut screen = Screen::default();
    loop {
        let started = Instant::now();
        let observed = observe(&topology, &fleet, Scope::all()).await;
        let (report, condition) = make(&topology, &observed);
        if !watch {
            context.ui.result(&report)?;
            return finish(&fleet, condition);
        }
        let now = jiff::Zoned::now().strftime("%H:%M:%S");
        let title = format!("{now}, seen in {} ms; Ctrl-C ends", started.elapsed().as_millis());
        screen.show(&context.ui, &title, &report)?;
        tokio::join!(tokio::time::sleep(EVERY.saturating_sub(started.elapsed())), fleet.revive(&topology));
    }
}

/// A cluster of which no host can be reached is not known to be unhealthy: the way to it is what is wrong.
fn finish(fleet: &Fleet, condition: Condition) -> Result<Exit, CommandError> {
    if fleet.links().next().is_none() {
        fleet.require_all()?;
    }
    Ok(if condition == Condition::Healthy { Exit::Ok } else { Exit::Unhealthy })
}
