//! What `up` has to do: the difference between what the topology renders to and what was seen.
//!
//! Pure: values in, a plan or a refusal out. The order of waves is the safety argument of every deployment:
//! etcd first and one member at a time once it lives; of a Patroni group that lives never two members at once, standbys
//! before the leader, groups one after another (Citus takes one change of pg_dist_node at a time); the proxy that clients
//! use last.

use std::collections::BTreeSet;

use serde::Serialize;

use super::action::{Action, Change, Condition, Plan};
use super::dynamic;
use crate::error::{Exit, Failure};
use crate::observe::model::{GroupState, NodeFacts, Observed, Probe, ServiceFacts, SwarmFacts};
use crate::templates::Artifacts;
use crate::templates::artifacts::{Kind, LABEL_HOST, Layer, Service};
use crate::topology::Topology;
use crate::topology::ids::{GroupId, MemberName};
use crate::topology::model::{Group, Member, Replication};

/// Why there can be no plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Refusal {
    /// The object.
    pub what: String,
    /// Why it cannot be done, or cannot be known.
    pub why: String,
    /// What to do instead.
    pub instead: String,
}

impl Refusal {
    /// A refusal in three phrases.
    pub fn new(what: impl Into<String>, why: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), instead: instead.into() }
    }
}

/// All refusals of a plan as one error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub Vec<Refusal>);

impl std::error::Error for Refused {}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "this cannot be done; nothing was changed")?;
        self.0.iter().try_for_each(|refusal| write!(f, "\n  {refusal}\n    instead: {}", refusal.instead))
    }
}

impl Failure for Refused {
    fn exit(&self) -> Exit {
        Exit::Refused
    }
}

/// What is to be done so that the cluster is what the topology says; all refusals at once when it must not be done.
pub fn plan(topology: &Topology, artifacts: &Artifacts, observed: &Observed) -> Result<Plan, Vec<Refusal>> {
    let swarm = match &observed.swarm {
        Probe::Known(swarm) => swarm,
        Probe::Failed(error) => {
            return Err(vec![Refusal::new("the Swarm", error.to_string(), "run `pgclusterctl init`, or start a manager host")]);
        }
    };
    let refusals = refusals(topology, artifacts, observed, swarm);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let planner = Planner { topology, artifacts, observed, swarm };
    Ok(planner.plan())
}

struct Planner<'a> {
    topology: &'a Topology,
    artifacts: &'a Artifacts,
    observed: &'a Observed,
    swarm: &'a SwarmFacts,
}

impl Planner<'_> {
    fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        self.configs(&mut plan);
        self.etcd(&mut plan);
        self.dynamic(&mut plan);
        self.first_leaders(&mut plan);
        self.new_members_and_proxies(&mut plan);
        self.rolling_members(&mut plan);
        self.rolling_proxies(&mut plan);
        self.guards(&mut plan);
        self.leftovers(&mut plan);
        if plan.is_empty() { Plan::default() } else { plan }
    }

    fn configs(&self, plan: &mut Plan) {
        let missing = self.artifacts.configs.keys().filter(|name| !self.swarm.configs.contains_key(*name));
        let actions = missing.map(|name| Action::CreateConfig { name: name.clone() }).collect();
        plan.push("configuration files", actions, Vec::new());
    }

    /// A new store starts all its members together: one alone has no quorum to become healthy with.
    fn etcd(&self, plan: &mut Plan) {
        let all: Vec<_> = self.services(|s| s.kind == Kind::Etcd).collect();
        let healthy: Vec<_> = all.iter().map(|s| Condition::EtcdMember { member: s.name.clone() }).collect();
        let new: Vec<_> = all.iter().filter_map(|s| self.deploy(s, Change::Create)).collect();
        if !new.is_empty() {
            plan.push("etcd", new, healthy.clone());
        }
        for service in &all {
            if let Some(action) = self.deploy(service, Change::Update) {
                plan.push(format!("etcd: {}", service.name), vec![action], after(service, healthy.clone()));
            }
        }
    }

    fn dynamic(&self, plan: &mut Plan) {
        let mut actions = Vec::new();
        let mut until = Vec::new();
        for (group, wanted) in &self.artifacts.dynamic {
            let state = self.group_state(*group);
            let present = state.map(|s| &s.config).filter(|config| !config.is_null());
            let change = match present {
                None => Change::Create,
                Some(present) if dynamic::differs(wanted, present) => Change::Update,
                Some(_) => continue,
            };
            actions.push(Action::WriteDynamic { group: *group, change });
            until.push(Condition::Dynamic { group: *group });
        }
        plan.push("Patroni settings", actions, until);
    }

    /// The home of each group's leader starts alone, so that it and no other initialises the group: who runs where then
    /// follows the topology instead of a race.
    fn first_leaders(&self, plan: &mut Plan) {
        let new: Vec<_> = self.topology.groups.iter().filter(|g| !self.initialized(g)).collect();
        let homes = new.iter().filter_map(|g| self.artifacts.service(g.members[0].name.as_str()));
        let actions = homes.filter_map(|s| self.deploy_any(s)).collect();
        plan.push("group leaders", actions, new.iter().map(|g| Condition::Initialized { group: g.id }).collect());
    }

    /// Whatever holds no data yet starts at once: members that join a group, all members of a group that was never
    /// initialised, proxies.
    fn new_members_and_proxies(&self, plan: &mut Plan) {
        let planned = deployed(plan);
        let fresh = |s: &&Service| match s.kind {
            Kind::Member(group) => self.topology.group(group).is_some_and(|g| !self.initialized(g)),
            _ => false,
        };
        let candidates = self.services(|s| s.kind != Kind::Etcd && !planned.contains(s.name.as_str()));
        let actions: Vec<_> =
            candidates.filter_map(|s| if fresh(&s) { self.deploy_any(s) } else { self.deploy(s, Change::Create) }).collect();
        if actions.is_empty() && planned.is_empty() {
            return;
        }
        // What will be rolled is judged after its own wave: it may be broken now, and the roll its cure.
        let settled = self.topology.groups.iter().filter(|g| !self.initialized(g) || !self.rolls(g));
        let mut until: Vec<_> = settled.flat_map(|g| whole_group(self.topology, g)).collect();
        let guards = self.services(|s| s.kind == Kind::Guard && self.deploy(s, Change::Update).is_none());
        until.extend(guards.map(|s| Condition::Running { service: s.name.clone() }));
        if self.services(|s| s.layer == Layer::Proxy).all(|s| self.deploy(s, Change::Update).is_none()) {
            until.extend(self.proxy_conditions());
        }
        plan.push("members and proxies", actions, until);
    }

    /// Groups that live are rolled one after another: readers and standbys first, one at a time, then leadership is handed over.
    fn rolling_members(&self, plan: &mut Plan) {
        for group in self.topology.groups.iter().filter(|g| self.initialized(g)) {
            let Some(state) = self.group_state(group.id) else { continue };
            let mut members: Vec<_> = group.everyone().collect();
            // Members that are down first: their update may be their cure, and costs no redundancy. No more does that of readers.
            // The leader of now last: leadership moves once.
            members.sort_by_key(|m| {
                let name = m.name.as_str();
                (name == state.leader, is_up(state, name), !group.is_reader(name))
            });
            if let Some(leader) = shrinking_leader(group, state) {
                let restart = Action::RestartMember { member: leader.name.clone(), group: group.id };
                plan.push(format!("{}: {}", group.id, leader.name), vec![restart], group_conditions(self.topology, group));
            }
            for member in members {
                let name = member.name.as_str();
                let Some(service) = self.artifacts.service(name) else { continue };
                let waits =
                    || restart(state, member).filter(|_| shrinking_leader(group, state).is_none_or(|l| l.name != member.name));
                let Some(action) = self.deploy(service, Change::Update).or_else(waits) else { continue };
                let leads = name == state.leader;
                if leads && group.members.len() > 1 {
                    hand_over(plan, self.topology, group, &member.name);
                }
                // Without a leader there is no health to wait for between two members, only progress.
                let mut until = if state.leader.is_empty() { Vec::new() } else { group_conditions(self.topology, group) };
                if group.is_reader(name) && !state.leader.is_empty() {
                    until.push(Condition::Member { member: member.name.clone(), group: group.id });
                }
                plan.push(format!("{}: {name}", group.id), vec![action], after(service, until));
            }
        }
    }

    /// Proxy hosts one after another, the holder of the VIP last: clients move once, to a proxy that is already new.
    fn rolling_proxies(&self, plan: &mut Plan) {
        let mut proxies: Vec<_> = self.topology.proxies.iter().collect();
        proxies.sort_by_key(|p| (self.observed.holds_vip(p.ordinal), std::cmp::Reverse(p.ordinal)));
        for proxy in proxies {
            let services: Vec<_> = self.services(|s| s.layer == Layer::Proxy && s.host == proxy.host).collect();
            let changed: Vec<_> = services.into_iter().filter_map(|s| Some((s, self.deploy(s, Change::Update)?))).collect();
            if changed.is_empty() {
                continue;
            }
            let own = changed.iter().map(|(s, _)| Condition::Deployed { service: s.name.clone(), hash: s.hash.clone() });
            let until = own.chain(self.proxy_conditions()).collect();
            plan.push(format!("proxy on {}", proxy.host), changed.into_iter().map(|(_, action)| action).collect(), until);
        }
    }

    /// All at once: a guard holds nothing, and without any of them Patroni's own ttl still runs.
    fn guards(&self, plan: &mut Plan) {
        let changed: Vec<_> =
            self.services(|s| s.kind == Kind::Guard).filter_map(|s| Some((s, self.deploy(s, Change::Update)?))).collect();
        let until = changed.iter().flat_map(|(service, _)| after(service, Vec::new())).collect();
        plan.push("guards", changed.into_iter().map(|(_, action)| action).collect(), until);
    }

    fn leftovers(&self, plan: &mut Plan) {
        let gone = self.swarm.services.keys().filter(|name| self.artifacts.service(name).is_none());
        let mut actions: Vec<_> = gone.map(|name| Action::RemoveService { service: name.clone() }).collect();
        let unused = self.swarm.configs.keys().filter(|name| !self.artifacts.configs.contains_key(*name));
        actions.extend(unused.map(|name| Action::RemoveConfig { name: name.clone() }));
        plan.push("leftovers", actions, Vec::new());
    }

    fn proxy_conditions(&self) -> Vec<Condition> {
        proxy_conditions(self.topology, self.artifacts)
    }

    /// Whether any member of the group is to be updated or restarted.
    fn rolls(&self, group: &Group) -> bool {
        let state = self.group_state(group.id);
        group.everyone().any(|m| {
            let update = self.artifacts.service(m.name.as_str()).and_then(|s| self.deploy(s, Change::Update));
            update.is_some() || state.is_some_and(|s| restart(s, m).is_some())
        })
    }

    fn services(&self, keep: impl Fn(&Service) -> bool) -> impl Iterator<Item = &Service> {
        self.artifacts.services.iter().filter(move |s| keep(s))
    }

    /// The deployment of a service, if `change` is what it needs.
    fn deploy(&self, service: &Service, change: Change) -> Option<Action> {
        let needed = match self.swarm.services.get(service.name.as_str()) {
            None => Change::Create,
            Some(facts) if drifted(service, facts) => Change::Update,
            Some(_) => return None,
        };
        (needed == change).then(|| Action::Deploy {
            service: service.name.clone(),
            host: service.host.clone(),
            hash: service.hash.clone(),
            change,
        })
    }

    fn deploy_any(&self, service: &Service) -> Option<Action> {
        self.deploy(service, Change::Create).or_else(|| self.deploy(service, Change::Update))
    }

    fn group_state(&self, group: GroupId) -> Option<&GroupState> {
        self.observed.patroni.known()?.get(&group)
    }

    /// Until a group was initialised no member has anything that a restart could hurt.
    fn initialized(&self, group: &Group) -> bool {
        self.group_state(group.id).is_some_and(|s| s.initialized)
    }
}

fn is_up(state: &GroupState, member: &str) -> bool {
    state.members.get(member).is_some_and(|m| matches!(m.state.as_str(), "running" | "streaming"))
}

/// The leader, when it waits to restart with less shared memory than its standbys may run with: it goes first, and in place.
fn shrinking_leader<'a>(group: &'a Group, state: &GroupState) -> Option<&'a Member> {
    let leader = group.members.iter().find(|m| m.name.as_str() == state.leader)?;
    state.members.get(&state.leader)?.restart_shrinks.then_some(leader)
}

fn restart(state: &GroupState, member: &Member) -> Option<Action> {
    let pending = state.members.get(member.name.as_str())?.pending_restart;
    pending.then(|| Action::RestartMember { member: member.name.clone(), group: member.group })
}

/// First the update itself, then what it must not have broken.
fn after(service: &Service, conditions: Vec<Condition>) -> Vec<Condition> {
    let own = Condition::Deployed { service: service.name.clone(), hash: service.hash.clone() };
    std::iter::once(own).chain(conditions).collect()
}

/// Whether a running service is not what the topology says; someone may also have scaled it or set another image by hand.
fn drifted(service: &Service, facts: &ServiceFacts) -> bool {
    facts.hash != service.hash || facts.replicas != 1 || facts.image != service.image
}

fn deployed(plan: &Plan) -> BTreeSet<String> {
    let name = |action: &Action| match action {
        Action::Deploy { service, .. } => Some(service.to_string()),
        _ => None,
    };
    plan.actions().filter_map(name).collect()
}

/// Leadership goes to another member. A standby that was just restarted needs a moment until commits wait for it again.
pub(super) fn hand_over(plan: &mut Plan, topology: &Topology, group: &Group, from: &MemberName) {
    let ready = vec![Condition::Candidate { group: group.id }];
    plan.push(format!("{}: a standby is ready", group.id), Vec::new(), ready);
    let switch = Action::Switchover { group: group.id, from: from.clone() };
    plan.push(format!("{}: hand over", group.id), vec![switch], group_conditions(topology, group));
}

/// What a healthy group fulfils, and its readers, which nobody else waits for: without them a group is as safe as with them.
fn whole_group(topology: &Topology, group: &Group) -> Vec<Condition> {
    let readers = group.readers.iter().map(|r| Condition::Member { member: r.name.clone(), group: group.id });
    group_conditions(topology, group).into_iter().chain(readers).collect()
}

/// What a healthy group fulfils, its readers aside.
pub fn group_conditions(topology: &Topology, group: &Group) -> Vec<Condition> {
    let mut conditions = vec![Condition::Leader { group: group.id }];
    conditions.extend(group.members.iter().map(|m| Condition::Member { member: m.name.clone(), group: group.id }));
    if group.replication != Replication::Async {
        conditions.push(Condition::Synchronous { group: group.id });
    }
    if topology.citus.is_some() {
        conditions.push(Condition::Registered { group: group.id });
    }
    conditions
}

fn proxy_conditions(topology: &Topology, artifacts: &Artifacts) -> Vec<Condition> {
    let proxies = || artifacts.services.iter().filter(|s| s.layer == Layer::Proxy);
    let running = proxies().map(|s| Condition::Running { service: s.name.clone() });
    let routes = proxies().filter(|s| s.kind == Kind::Haproxy).map(|s| Condition::Routes { proxy: s.name.clone() });
    let vip = topology.network.vip.iter().map(|_| Condition::Vip);
    running.chain(routes).chain(vip).collect()
}

/// What a healthy cluster fulfils: `up` ends when all of it holds.
pub fn health_conditions(topology: &Topology, artifacts: &Artifacts) -> Vec<Condition> {
    let etcd = topology.etcd.iter().map(|m| Condition::EtcdMember { member: m.name.clone() });
    let groups = topology.groups.iter().flat_map(|g| whole_group(topology, g));
    let guards = artifacts.services.iter().filter(|s| s.kind == Kind::Guard);
    let guards = guards.map(|s| Condition::Running { service: s.name.clone() });
    etcd.chain(groups).chain(proxy_conditions(topology, artifacts)).chain(guards).collect()
}

/// Everything that forbids a plan.
fn refusals(topology: &Topology, artifacts: &Artifacts, observed: &Observed, swarm: &SwarmFacts) -> Vec<Refusal> {
    let mut found = Vec::new();
    for (name, probe) in &observed.hosts {
        if let Some(error) = probe.failed() {
            found.push(Refusal::new(name.to_string(), error.reason.clone(), "start the host, or take it out of the topology"));
        }
    }
    for host in &topology.hosts {
        let is_its = |node: &&NodeFacts| node.labels.get(LABEL_HOST).is_some_and(|label| label == host.name.as_str());
        let nodes: Vec<_> = swarm.nodes.values().filter(is_its).collect();
        if nodes.iter().any(|node| node.state == "ready") {
            continue;
        }
        let (why, instead) = match nodes.first() {
            // After a change of their leader the managers hear of each node within seconds.
            Some(node) => (format!("its Swarm node is {}", node.state), "wait for half a minute; then `pgclusterctl init`"),
            None => ("no Swarm node bears its label".to_owned(), "run `pgclusterctl init`"),
        };
        found.push(Refusal::new(host.name.to_string(), why, instead));
    }
    for name in artifacts.services.iter().flat_map(|s| &s.secrets).collect::<BTreeSet<_>>() {
        if !swarm.secrets.contains(name) {
            found.push(Refusal::new(format!("secret {name}"), "does not exist", "run `pgclusterctl init`"));
        }
    }
    for (name, subnet) in topology.network.overlays(&topology.name) {
        match swarm.networks.get(&name) {
            None => found.push(Refusal::new(format!("network {name}"), "does not exist", "run `pgclusterctl init`")),
            Some(facts) if facts.subnet != subnet.to_string() => found.push(Refusal::new(
                format!("network {name}"),
                format!("exists with subnet {}, the topology says {subnet}", facts.subnet),
                "a network cannot change under a running cluster: keep the subnet, or `down` and remove the network first",
            )),
            Some(_) => {}
        }
    }
    found.extend(removed_members(artifacts, swarm));
    found.extend(moved_etcd(topology, artifacts, observed, swarm));
    found.extend(blind(observed, swarm));
    found
}

/// Members hold data: a topology that merely lacks them is no order to remove it.
fn removed_members(artifacts: &Artifacts, swarm: &SwarmFacts) -> Vec<Refusal> {
    let gone = swarm.services.keys().filter(|name| artifacts.service(name).is_none());
    let holds_data = |name: &&String| ["etcd-", "coordinator-", "worker-"].iter().any(|p| name.starts_with(p));
    let groups: BTreeSet<GroupId> = artifacts.dynamic.keys().copied().collect();
    gone.filter(holds_data)
        .map(|name| {
            let instead = match GroupId::of_member(name) {
                Some(group) if !groups.contains(&group) => format!(
                    "put {group} back into the topology, or take it out for good: `pgclusterctl scale in --shard {}`",
                    group.0
                ),
                Some(_) => {
                    format!("put it back into the topology, or take it out for good: `pgclusterctl scale in --member {name}`")
                }
                None => "put it back into the topology; `up` never removes what holds data".to_owned(),
            };
            Refusal::new(name.clone(), "runs and holds data, but the topology does not have it", instead)
        })
        .collect()
}

/// An etcd member that starts with an empty disk under its old name can break the quorum's promises. One that etcd itself lists
/// as new, with a new id and never started, may.
fn moved_etcd(topology: &Topology, artifacts: &Artifacts, observed: &Observed, swarm: &SwarmFacts) -> Vec<Refusal> {
    let listed = |service: &Service| {
        let url = topology.etcd.iter().find(|m| m.name == service.name)?.peer_url();
        observed.membership.known()?.iter().find(|peer| peer.url == url)
    };
    let moved = |service: &&Service| {
        let host = host_of(swarm.services.get(service.name.as_str())?, swarm)?;
        let has_moved = host != service.host.as_str() && listed(service).is_none_or(|peer| !peer.name.is_empty());
        has_moved.then(|| (service.name.clone(), host, service.host.clone()))
    };
    let etcd = artifacts.services.iter().filter(|s| s.kind == Kind::Etcd);
    let mut found: Vec<_> = etcd
        .clone()
        .filter_map(|s| moved(&s))
        .map(|(name, host, new)| {
            Refusal::new(
                name.to_string(),
                format!("has its data on {host}"),
                format!("leave it there: [etcd] hosts must name {host} in its place; if {host} is lost for good: `pgclusterctl host replace {host} {new}`"),
            )
        })
        .collect();
    let existing = etcd.clone().filter(|s| swarm.services.contains_key(s.name.as_str())).count();
    let started = etcd.clone().any(|s| swarm.services.get(s.name.as_str()).is_some_and(|f| f.fragment != s.fragment));
    if existing > 0 && existing < etcd.count() && started {
        let why = "the store has other members than the topology; members are not added to a living store by a deployment";
        found.push(Refusal::new("[etcd] hosts", why, "restore the list of hosts that the store was made with"));
    }
    found
}

/// The host that a service is pinned to, by its own definition, or where that cannot be read by where its task is.
fn host_of(facts: &ServiceFacts, swarm: &SwarmFacts) -> Option<String> {
    let pin = format!("node.labels.{LABEL_HOST} == ");
    let pinned = facts.fragment.lines().find_map(|line| line.trim().trim_start_matches("- ").strip_prefix(&pin));
    pinned.map(str::to_owned).or_else(|| swarm.nodes.get(&facts.task_node)?.labels.get(LABEL_HOST).cloned())
}

/// Once etcd was deployed, a plan without its answer would be a guess about who leads.
fn blind(observed: &Observed, swarm: &SwarmFacts) -> Option<Refusal> {
    let members_exist = swarm.services.keys().any(|name| name.starts_with("coordinator-") || name.starts_with("worker-"));
    let error = observed.patroni.failed().filter(|_| members_exist)?;
    let instead = "bring etcd's quorum back first (`pgclusterctl status`); nothing can be decided without it";
    Some(Refusal::new("etcd", error.to_string(), instead))
}
