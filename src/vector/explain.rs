//! What EXPLAIN says of a search: on how many shards, by which index, and who puts the answers together. Pure.

use serde::Serialize;

/// How a search is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Shards that are searched; 1 for a plain table.
    pub shards: u32,
    /// Those that use the vector index; the others look at every row, or at all of a tenant's by the primary key.
    pub by_vector_index: u32,
    /// Whether the coordinator sorts what the shards found.
    pub merged: bool,
}

/// Reads the text of EXPLAIN with `citus.explain_all_tasks`; `index` is the index' name on the coordinator, which on shards
/// ends in the shard's id.
pub fn read<'a>(lines: impl IntoIterator<Item = &'a str>, index: &str) -> Shape {
    let mut shape = Shape { shards: 1, by_vector_index: 0, merged: false };
    let mut sorted = false;
    for line in lines.into_iter().map(str::trim) {
        if line.contains("Custom Scan (Citus") {
            shape.merged = sorted;
        } else if let Some(count) = line.strip_prefix("Task Count: ") {
            shape.shards = count.parse().unwrap_or(shape.shards);
        } else if line.contains("Index Scan using") && line.contains(index) {
            shape.by_vector_index += 1;
        }
        sorted |= line.trim_start_matches("->").trim_start().starts_with("Sort");
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_over_all_shards_is_told_from_one_of_a_shard() {
        let all = "\
Limit
  ->  Sort
        Sort Key: remote_scan.worker_column_2
        ->  Custom Scan (Citus Adaptive)
              Task Count: 2
              Tasks Shown: All
              ->  Task
                    Node: host=worker-1-1 port=5432 dbname=app
                    ->  Limit
                          ->  Index Scan using docs_embedding_hnsw_102008 on docs_102008 docs
                                Order By: (embedding <-> '[1,2,3]'::vector)
              ->  Task
                    Node: host=worker-2-1 port=5432 dbname=app
                    ->  Limit
                          ->  Sort
                                Sort Key: ((embedding <-> '[1,2,3]'::vector))
                                ->  Seq Scan on docs_102009 docs";
        assert_eq!(read(all.lines(), "docs_embedding_hnsw"), Shape { shards: 2, by_vector_index: 1, merged: true });
        let one = "\
Custom Scan (Citus Adaptive)
  Task Count: 1
  Tasks Shown: All
  ->  Task
        Node: host=worker-1-1 port=5432 dbname=app
        ->  Limit
              ->  Sort
                    ->  Index Scan using docs_pkey_102008 on docs_102008 docs";
        assert_eq!(read(one.lines(), "docs_embedding_hnsw"), Shape { shards: 1, by_vector_index: 0, merged: false });
        let plain = "Limit\n  ->  Index Scan using docs_embedding_hnsw on docs";
        assert_eq!(read(plain.lines(), "docs_embedding_hnsw"), Shape { shards: 1, by_vector_index: 1, merged: false });
    }
}
