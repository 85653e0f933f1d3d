//! etcd through the relay: Patroni's keys, and each member's own state.

use std::time::Duration;

use etcd_client::{Channel, Client, Compare, CompareOp, DeleteOptions, GetOptions, Txn, TxnOp};
use hyper_util::rt::TokioIo;
use tonic::transport::Endpoint;
use tower::service_fn;

use super::container::Container;
use super::relay;
use crate::observe::model::{EtcdFacts, EtcdPeer};

/// etcd's client port.
const PORT: u16 = 2379;
/// etcd answers within milliseconds, or, without a leader, not at all.
const TIMEOUT: Duration = Duration::from_millis(2500);

/// Why etcd could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// The relay or the connection failed.
    #[error("{member}: no connection")]
    Connect {
        /// The member.
        member: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// etcd said no, or said nothing in time.
    #[error("{member}: {source}")]
    Etcd {
        /// The member.
        member: String,
        /// Its words.
        source: etcd_client::Error,
    },
    /// The value is no longer what it was when it was read.
    #[error("{key} was changed by somebody else in this moment")]
    Changed {
        /// The key.
        key: String,
    },
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// The lease it is bound to; 0 without one.
    pub lease: i64,
    /// Revision of its last change; 0 is no revision.
    pub revision: i64,
}

/// A connection to one member.
#[derive(Clone)]
pub struct Etcd {
    member: String,
    client: Client,
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcd").field("member", &self.member).finish_non_exhaustive()
    }
}

impl Etcd {
    /// Connects to the member that runs in this container.
    pub async fn connect(container: &Container) -> Result<Self, EtcdError> {
        let member = container.name.clone();
        let endpoint = Endpoint::from_static("http://etcd").timeout(TIMEOUT).connect_timeout(TIMEOUT);
        let container = container.clone();
        let dial = service_fn(move |_| {
            let container = container.clone();
            async move { relay::tcp(&container, "127.0.0.1", PORT).await.map(TokioIo::new).map_err(std::io::Error::other) }
        });
        let channel = endpoint
            .connect_with_connector(dial)
            .await
            .map_err(|source| EtcdError::Connect { member: member.clone(), source })?;
        let client = Client::from_channel(Channel::Tonic(channel), None)
            .await
            .map_err(|source| EtcdError::Etcd { member: member.clone(), source })?;
        Ok(Self { member, client })
    }

    /// All keys under a prefix, by a read that the quorum confirms.
    pub async fn range(&self, prefix: &str) -> Result<Vec<Entry>, EtcdError> {
        let options = GetOptions::new().with_prefix();
        let answer = self.client.clone().get(prefix, Some(options)).await.map_err(|e| self.said(e))?;
        Ok(answer.kvs().iter().map(entry).collect())
    }

    /// One key.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, EtcdError> {
        let answer = self.client.clone().get(key, None).await.map_err(|e| self.said(e))?;
        Ok(answer.kvs().first().map(entry))
    }

    /// Writes a key if it is still at `revision` (0: if it does not exist).
    pub async fn put(&self, key: &str, value: impl Into<Vec<u8>>, revision: i64) -> Result<(), EtcdError> {
        let unchanged = Compare::mod_revision(key, CompareOp::Equal, revision);
        let txn = Txn::new().when([unchanged]).and_then([TxnOp::put(key, value, None)]);
        let answer = self.client.clone().txn(txn).await.map_err(|e| self.said(e))?;
        if answer.succeeded() { Ok(()) } else { Err(EtcdError::Changed { key: key.to_owned() }) }
    }

    /// Deletes all keys under a prefix; how many there were.
    pub async fn delete_range(&self, prefix: &str) -> Result<u64, EtcdError> {
        let options = DeleteOptions::new().with_prefix();
        let answer = self.client.clone().delete(prefix, Some(options)).await.map_err(|e| self.said(e))?;
        Ok(u64::try_from(answer.deleted()).unwrap_or_default())
    }

    /// The member's own state, which it tells also without a quorum, with the alarms that are raised anywhere in the store.
    pub async fn facts(&self) -> Result<EtcdFacts, EtcdError> {
        let status = self.client.clone().status().await.map_err(|e| self.said(e))?;
        Ok(EtcdFacts {
            member_id: status.header().map_or(0, etcd_client::ResponseHeader::member_id),
            leader_id: status.leader(),
            raft_term: status.raft_term(),
            raft_index: status.raft_index(),
            db_size_bytes: u64::try_from(status.db_size()).unwrap_or_default(),
            version: status.version().to_owned(),
            alarms: alarms(status.errors()),
        })
    }

    /// Hands the store's leadership to another member, by its id. Only the leader can.
    pub async fn move_leader(&self, to: u64) -> Result<(), EtcdError> {
        self.client.clone().move_leader(to).await.map_err(|e| self.said(e))?;
        Ok(())
    }

    /// Who belongs to the store, started or not. The read before it makes this member catch up with the quorum: its own list may
    /// be older, and etcd's client asks for no more than that.
    pub async fn members(&self) -> Result<Vec<EtcdPeer>, EtcdError> {
        self.get("/health").await?;
        let answer = self.client.clone().member_list().await.map_err(|e| self.said(e))?;
        Ok(answer.members().iter().map(peer).collect())
    }

    /// Takes a member out of the store for good: its disk is of no use to it any more.
    pub async fn remove_member(&self, id: u64) -> Result<(), EtcdError> {
        self.client.clone().member_remove(id).await.map(drop).map_err(|e| self.said(e))
    }

    /// Adds a member that others will reach at this URL. It counts for the quorum from now on, and starts with an empty disk.
    pub async fn add_member(&self, url: &str) -> Result<(), EtcdError> {
        self.client.clone().member_add([url], None).await.map(drop).map_err(|e| self.said(e))
    }

    fn said(&self, source: etcd_client::Error) -> EtcdError {
        EtcdError::Etcd { member: self.member.clone(), source }
    }
}

/// Alarms among what a member complains of: `memberID:10276657743932975437 alarm:NOSPACE ` (seen with etcd 3.5). Asking for
/// alarms by their own call needs a quorum.
fn alarms(complaints: &[String]) -> Vec<String> {
    complaints.iter().filter_map(|text| text.split_once("alarm:")).map(|(_, name)| name.trim().to_owned()).collect()
}

fn peer(member: &etcd_client::Member) -> EtcdPeer {
    EtcdPeer { id: member.id(), name: member.name().to_owned(), url: member.peer_urls().first().cloned().unwrap_or_default() }
}

fn entry(kv: &etcd_client::KeyValue) -> Entry {
    Entry {
        key: String::from_utf8_lossy(kv.key()).into_owned(),
        value: kv.value().to_vec(),
        lease: kv.lease(),
        revision: kv.mod_revision(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_told_from_other_complaints() {
        let complaints = ["memberID:10276657743932975437 alarm:NOSPACE ".to_owned(), "etcdserver: no leader".to_owned()];
        assert_eq!(alarms(&complaints), ["NOSPACE"]);
    }
}
