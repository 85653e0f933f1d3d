//! Deploying services: `docker stack deploy` on a manager, with a Compose file that holds exactly the services of the wave.
//!
//! Without `--prune` Swarm leaves every service alone that the file does not name; that is what makes waves possible.

use super::{StepError, World};
use crate::templates;
use crate::topology::MemberName;

/// How much of a failing command's output is shown.
const TAIL: usize = 600;

/// Deploys these services together.
pub async fn services(world: World<'_>, names: &[&MemberName]) -> Result<(), StepError> {
    let services: Vec<_> = names
        .iter()
        .map(|name| world.artifacts.service(name.as_str()).ok_or_else(|| StepError::NotRendered(name.to_string())))
        .collect::<Result<_, _>>()?;
    let file = templates::stack_file(world.topology, world.artifacts, &services, true);
    let manager = world.fleet.manager().await?;
    // Images are carried to the hosts or pulled by name; resolving a digest would ask a registry that may not exist.
    let resolve = if world.topology.images.from_registry { "changed --with-registry-auth" } else { "never" };
    let command = format!("docker stack deploy --resolve-image {resolve} --compose-file - {}", world.topology.name);
    let output = manager.ssh.run(&command, file.into_bytes()).await?;
    if output.status == 0 {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let from = text.char_indices().rev().nth(TAIL).map_or(0, |(index, _)| index);
    Err(StepError::Command { host: manager.host.to_string(), command, status: output.status, output: text[from..].to_owned() })
}
