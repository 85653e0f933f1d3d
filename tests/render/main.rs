//! Every example is rendered: compared with snapshots, and shown to the programs that will read it.
//!
//! The validators need Docker and the images of the examples (`pgclusterctl image build`). What is missing fails the test.

mod examples;
mod snapshots;
mod validators;
