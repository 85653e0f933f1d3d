//! What clients do at this moment, all nodes together: who waits for whom, and which prepared transactions are left. Values in,
//! values out; [`crate::observe::traffic`] reads them.

mod prepared;
mod session;
mod waits;

pub use prepared::{Fate, Gid, Origins, Prepared, fate};
pub use session::{Gpid, Session};
pub use waits::{Cycle, Wait, cycles};
