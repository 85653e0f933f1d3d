//! Concrete clients for what is out there: hosts, Docker daemons, containers, etcd, PostgreSQL, Patroni, HAProxy.
//!
//! Everything runs over one SSH session per host; nothing but sshd has to be reachable. Collectors (`observe`) and steps call
//! these clients; the clients return domain types, decide nothing and print nothing.

pub mod container;
pub mod docker;
pub mod etcd;
pub mod exec;
pub mod fleet;
pub mod hostkey;
pub mod patroni;
pub mod relay;
pub mod sql;
pub mod ssh;
pub mod terminal;
