//! Consent as a type: whatever destroys, injects a fault or moves leadership takes a [`Consent`], and only the operator's
//! answer or flag can make one.

/// The operator agreed.
#[derive(Debug)]
pub struct Consent(());

impl Consent {
    /// For [`crate::output::Ui`] alone, right after the operator's answer; `tests/architecture.rs` holds that.
    pub(crate) fn given() -> Self {
        Self(())
    }
}
