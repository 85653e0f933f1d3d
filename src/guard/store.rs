//! The guard's view of etcd: the member on its own host, and nothing else.
//!
//! A guard whose member is down or cut off sees nothing and does nothing; the others see.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Channel, Client, Compare, CompareOp, EventType, GetOptions, KeyValue, Txn, TxnOp, WatchOptions};
use futures_util::future::try_join_all;
use serde_json::Value;
use tonic::transport::Endpoint;

use super::clock::Clock;
use super::error::GuardError;
use super::heartbeats::{Heard, Heartbeat};
use super::watch::{Group, Leader, Sample, Settings};

/// A healthy member answers within milliseconds. Beyond this an answer proves too little to be worth waiting for.
const TIMEOUT: Duration = Duration::from_millis(600);
/// A connection to a container that is gone does not end by itself.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Why a question to etcd has no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// etcd said no, or said nothing in time.
    #[error("etcd: {0}")]
    Etcd(#[from] etcd_client::Error),
    /// The answers come from two terms.
    #[error("etcd changed its leader while it was asked")]
    TermChanged,
    /// Not what etcd answers.
    #[error("etcd answered without {0}")]
    Missing(&'static str),
}

/// Who leads etcd, as the local member sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raft {
    /// Whether that is the local member.
    pub leads: bool,
    /// Where its log ends.
    pub index: u64,
    /// The other voting members: id and the address for clients, which one that has never started has not told yet.
    pub others: Vec<(u64, Option<String>)>,
}

/// What another member of etcd says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    /// Whether it reports no errors, such as an alarm.
    pub well: bool,
    /// Whether it knows a leader.
    pub led: bool,
    /// Up to where it has applied the log.
    pub applied: u64,
}

/// A connection to the local member.
#[derive(Clone)]
pub struct Store {
    client: Client,
    /// `/service/<cluster>/`.
    scope: String,
    /// The same for heartbeats: not among the keys that Patronis watch, or each would wake them all.
    heartbeats: String,
    heard: Heard,
    /// Leases whose holders' heartbeats the last look showed, with the seconds that they were granted for. Copies share it.
    beating: Arc<Mutex<BTreeMap<i64, u64>>>,
    clock: Clock,
}

/// The time of a lease, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// That it was granted for.
    pub granted: u64,
    /// That is left, rounded down.
    pub remaining: u64,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Store {
    /// Connects when it is first asked, and again whenever the connection is lost.
    pub async fn connect(endpoint: &str, cluster: &str) -> Result<Self, GuardError> {
        let client = lazy(endpoint).await.map_err(|source| GuardError::Endpoint { endpoint: endpoint.to_owned(), source })?;
        let scope = format!("/service/{cluster}/");
        let heartbeats = format!("{HEARTBEATS}{scope}");
        Ok(Self { client, scope, heartbeats, heard: Heard::default(), beating: Arc::default(), clock: Clock::start() })
    }

    /// By the guard's clock.
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// One look at all leader keys, their leases and heartbeats. For how long a lease still lasts only etcd's leader knows, whom the
    /// other members have to ask: they are not asked where there was a heartbeat, which tells more. The last question is one that
    /// only a leader with a quorum behind it can answer: with the same term before and after, what was answered in between is that
    /// leader's word.
    pub async fn sample(&self) -> Result<Sample, StoreError> {
        let sent = self.now();
        let all = GetOptions::new().with_prefix();
        let keys = self.client.clone().get(self.scope.as_str(), Some(all.clone())).await?;
        let term = keys.header().ok_or(StoreError::Missing("a header"))?.raft_term();
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        let mut leaders = Vec::new();
        let (mut configs, mut syncs) = (BTreeMap::new(), BTreeMap::new());
        for kv in keys.kvs() {
            let Some((group, name)) = place(&self.scope, kv) else { continue };
            match name.as_str() {
                "leader" if kv.lease() != 0 => leaders.push((group, kv)),
                "config" => drop(configs.insert(group, kv.value())),
                "sync" => drop(syncs.insert(group, kv.value())),
                WAKE => groups.entry(group).or_default().woken = kv.mod_revision(),
                _ => {}
            }
        }
        for (group, config) in configs {
            let sole_standby = syncs.get(&group).is_some_and(|sync| has_sole_standby(sync));
            let group = groups.entry(group).or_default();
            (group.settings, group.sole_standby) = (settings(config), sole_standby);
        }
        let known = self.beating().clone();
        let lives = try_join_all(leaders.iter().map(|(_, kv)| async {
            match known.get(&kv.lease()) {
                Some(granted) => Ok(Some((*granted, None))),
                None => self.time_to_live(kv.lease()).await.map(|life| life.map(|life| (life.granted, Some(life.remaining)))),
            }
        }));
        let lives = lives.await?;
        for ((group, kv), life) in leaders.into_iter().zip(lives) {
            // Gone between two questions: then nobody leads.
            let leader = life.map(|(granted, remaining)| Leader {
                holder: String::from_utf8_lossy(kv.value()).into_owned(),
                lease: kv.lease(),
                revision: kv.mod_revision(),
                granted,
                remaining,
                heartbeat: None,
            });
            groups.entry(group).or_default().leader = leader;
        }
        let heartbeats = self.client.clone().get(self.heartbeats.as_str(), Some(all)).await?;
        if heartbeats.header().map(etcd_client::ResponseHeader::raft_term) != Some(term) {
            return Err(StoreError::TermChanged);
        }
        let answered = self.now();
        for kv in heartbeats.kvs() {
            let Some((group, _)) = place(&self.heartbeats, kv).filter(|(_, name)| name == HEARTBEAT) else { continue };
            // One of another lease is another holder's, or of another life of the same.
            let leader = groups.get_mut(&group).and_then(|group| group.leader.as_mut());
            if let Some(leader) = leader.filter(|leader| leader.lease == kv.lease()) {
                leader.heartbeat = Some(self.heard.shown(&group, kv.mod_revision(), answered));
            }
        }
        let leaders = groups.values().filter_map(|group| group.leader.as_ref());
        *self.beating() = leaders.filter(|l| l.heartbeat.is_some()).map(|l| (l.lease, l.granted)).collect();
        Ok(Sample { sent, answered, term, groups })
    }

    /// Hears of heartbeats as they are written, until the connection is lost.
    pub async fn listen(&self) -> Result<(), StoreError> {
        let all = WatchOptions::new().with_prefix();
        let mut told = self.client.clone().watch(self.heartbeats.as_str(), Some(all)).await?;
        while let Some(answer) = told.message().await? {
            let heard = self.now();
            let written = answer.events().iter().filter(|event| event.event_type() == EventType::Put);
            for kv in written.filter_map(etcd_client::Event::kv) {
                if let Some((group, _)) = place(&self.heartbeats, kv).filter(|(_, name)| name == HEARTBEAT) {
                    self.heard.take(group, Heartbeat { revision: kv.mod_revision(), heard });
                }
            }
        }
        Ok(())
    }

    fn beating(&self) -> std::sync::MutexGuard<'_, BTreeMap<i64, u64>> {
        self.beating.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long a lease still lasts; `None` when it is gone.
    pub async fn time_to_live(&self, lease: i64) -> Result<Option<Life>, StoreError> {
        match self.client.clone().lease_time_to_live(lease, None).await {
            Ok(answer) => {
                let seconds = |value: i64| u64::try_from(value).ok();
                let life = seconds(answer.granted_ttl()).zip(seconds(answer.ttl()));
                Ok(life.map(|(granted, remaining)| Life { granted, remaining }))
            }
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a leader key and its holder's heartbeat are still what was seen.
    pub async fn is_unchanged(&self, group: &str, leader: &Leader) -> Result<bool, StoreError> {
        let held = key(&self.scope, group, "leader");
        let mut same = vec![
            Compare::lease(held.as_str(), CompareOp::Equal, leader.lease),
            Compare::mod_revision(held.as_str(), CompareOp::Equal, leader.revision),
        ];
        let heartbeat = key(&self.heartbeats, group, HEARTBEAT);
        same.extend(leader.heartbeat.map(|seen| Compare::mod_revision(heartbeat, CompareOp::Equal, seen.revision)));
        Ok(self.client.clone().txn(Txn::new().when(same)).await?.succeeded())
    }

    /// Ends a lease, and with it all keys of its holder; false when it was gone: another guard was faster.
    pub async fn end(&self, lease: i64) -> Result<bool, StoreError> {
        match self.client.clone().lease_revoke(lease).await {
            Ok(_) => Ok(true),
            Err(error) if is_not_found(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Wakes the Patronis of a group, and with Citus the coordinators', unless another guard has done so since it was seen.
    pub async fn wake(&self, group: &str, seen: i64) -> Result<bool, StoreError> {
        let key = key(&self.scope, group, WAKE);
        let unchanged = Compare::mod_revision(key.as_str(), CompareOp::Equal, seen);
        let txn = Txn::new().when([unchanged]).and_then([TxnOp::put(key, seen.to_string(), None)]);
        Ok(self.client.clone().txn(txn).await?.succeeded())
    }

    /// Whether the local member leads, and who else could.
    pub async fn raft(&self) -> Result<Raft, StoreError> {
        let status = self.client.clone().status().await?;
        let own = status.header().ok_or(StoreError::Missing("a header"))?.member_id();
        if status.leader() != own {
            return Ok(Raft { leads: false, index: 0, others: Vec::new() });
        }
        let members = self.client.clone().member_list().await?;
        let others = members.members().iter().filter(|m| m.id() != own && !m.is_learner());
        let others = others.map(|m| (m.id(), m.client_urls().first().cloned())).collect();
        Ok(Raft { leads: true, index: status.raft_index(), others })
    }

    /// Hands the leadership of etcd to another member. Only the leader can.
    pub async fn hand_over(&self, to: u64) -> Result<(), StoreError> {
        self.client.clone().move_leader(to).await?;
        Ok(())
    }
}

/// Asks a member elsewhere; `None` when it does not answer.
pub async fn follower(url: &str) -> Option<Follower> {
    let status = lazy(url).await.ok()?.status().await.ok()?;
    Some(Follower { well: status.errors().is_empty(), led: status.leader() != 0, applied: status.raft_applied_index() })
}

/// A key that Patroni does not know, under a prefix that it watches: any change of it begins the next round at once.
const WAKE: &str = "wake";

/// Where heartbeats are, and the name of one: a leader's Patroni writes it with each renewal (`images/node/patroni-for-swarm`).
const HEARTBEATS: &str = "/pgclusterctl";
const HEARTBEAT: &str = "heartbeat";

async fn lazy(endpoint: &str) -> Result<Client, etcd_client::Error> {
    let url = if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
    let channel = Endpoint::from_shared(url)?
        .timeout(TIMEOUT)
        .connect_timeout(TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .connect_lazy();
    Client::from_channel(Channel::Tonic(channel), None).await
}

fn is_not_found(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status) if status.code() == tonic::Code::NotFound)
}

fn key(scope: &str, group: &str, name: &str) -> String {
    if group.is_empty() { format!("{scope}{name}") } else { format!("{scope}{group}/{name}") }
}

/// Group and name of a key: (`0`, `leader`) of `/service/c/0/leader`, (``, `leader`) of `/service/c/leader`. Members' keys and
/// the like are deeper and none of ours.
fn place(scope: &str, kv: &KeyValue) -> Option<(String, String)> {
    let path = std::str::from_utf8(kv.key()).ok()?.strip_prefix(scope)?;
    match path.split('/').collect::<Vec<_>>().as_slice() {
        [name] => Some((String::new(), (*name).to_owned())),
        [group, name] if group.bytes().all(|b| b.is_ascii_digit()) => Some(((*group).to_owned(), (*name).to_owned())),
        _ => None,
    }
}

/// Whether Patroni's synchronisation key names exactly one standby: the one that has everything, and alone may be promoted.
fn has_sole_standby(text: &[u8]) -> bool {
    let sync: Value = serde_json::from_slice(text).unwrap_or_default();
    let standbys = sync.get("sync_standby").and_then(Value::as_str).unwrap_or_default();
    standbys.split(',').filter(|name| !name.is_empty()).count() == 1
}

/// Reads Patroni's dynamic configuration; `None` when a value that matters is missing: Patroni's own defaults are not guessed.
fn settings(text: &[u8]) -> Option<Settings> {
    let config: Value = serde_json::from_slice(text).ok()?;
    let seconds = |key: &str| config.get(key)?.as_f64().filter(|s| *s > 0.0).map(Duration::from_secs_f64);
    let on = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
    Some(Settings::new(seconds("loop_wait")?, seconds("retry_timeout")?, !on("pause") && !on("failsafe_mode")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_without_timings_are_none() {
        assert_eq!(settings(br#"{"ttl": 20, "loop_wait": 1}"#), None);
        assert_eq!(settings(b"not json"), None);
    }

    #[test]
    fn the_bound_is_patronis_rule() {
        let read = settings(br#"{"ttl": 20, "loop_wait": 1, "retry_timeout": 3, "pause": null}"#);
        let seven = Settings { bound: Duration::from_secs(7), late: Duration::from_secs(4), steps_down: true };
        assert_eq!(read, Some(seven));
    }

    #[test]
    fn only_one_name_is_a_sole_standby() {
        assert!(has_sole_standby(br#"{"leader": "a", "sync_standby": "b", "quorum": 0}"#));
        for text in
            [&br#"{"leader": "a", "sync_standby": "b,c", "quorum": 1}"#[..], br#"{"leader": "a", "sync_standby": null}"#, b""]
        {
            assert!(!has_sole_standby(text), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn leaders_that_do_not_step_down_are_left_alone() {
        for key in ["pause", "failsafe_mode"] {
            let read = settings(format!(r#"{{"loop_wait": 1, "retry_timeout": 3, "{key}": true}}"#).as_bytes());
            assert!(read.is_some_and(|s| !s.steps_down), "{key}");
        }
    }
}
