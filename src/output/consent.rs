//! Consent as a type: whatever destroys, injects a fault or moves leadership takes a [`Consent`], and only the operator's
//! answer or flag can make one.

/// The operator agreed. Made by [`super::Ui::confirm`] and [`super::Ui::confirm_by_name`] alone.
#[derive(Debug)]
pub struct Consent(pub(super) ());
