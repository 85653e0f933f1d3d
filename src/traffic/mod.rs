//! What clients do at this moment, all nodes together: who waits for whom, which prepared transactions are left, and which tenants
//! are busy. Values in, values out; [`crate::observe::traffic`] and its neighbour `tenants` read them.

mod prepared;
mod session;
mod tenants;
mod waits;

pub use prepared::{Fate, Gid, Origins, Prepared, fate, standing};
pub use session::{Gpid, Session};
pub use tenants::{Tenant, Usage, busiest};
pub use waits::{Cycle, Wait, cycles};
