//! A real cluster on real Docker hosts, end to end. Run by `scripts/test`; the default profile of nextest leaves it out.
