//! Tables as the topology declares them, and their names: read as SQL reads them, quoted wherever SQL wants it.
//!
//! A [`TableName`] is made from the file or from PostgreSQL's catalog, and its two texts are all that ever reaches a server.

use std::fmt;

use serde::{Serialize, Serializer};

/// Longest identifier of PostgreSQL in bytes (NAMEDATALEN - 1).
pub const IDENTIFIER_MAX: usize = 63;

/// Where a table is whose name has no schema.
const DEFAULT_SCHEMA: &str = "public";

/// Schemas in which no application has tables.
const SYSTEM_SCHEMAS: [&str; 6] = ["pg_catalog", "information_schema", "pg_toast", "citus", "citus_internal", "columnar"];

/// A table that the topology declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeclaredTable {
    /// Which.
    pub table: TableName,
    /// How its rows are spread.
    pub spread: Spread,
}

/// How a table's rows are spread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Spread {
    /// All of them on every node.
    Reference,
    /// By the hash of a column.
    Distributed {
        /// The column, as the catalog has it.
        column: String,
        /// The declared table that it lies together with; `None` leaves it to Citus, which puts together what has the same type of
        /// column and number of shards.
        colocate_with: Option<TableName>,
        /// Shards that it has; `None` means as many as Citus gives it: those of the table it lies with, else `citus.shard_count`.
        /// Once it has some, it keeps them.
        shard_count: Option<u32>,
    },
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Distributed { column, colocate_with, shard_count } = self else { return f.write_str("reference") };
        write!(f, "by {column}")?;
        if let Some(other) = colocate_with {
            write!(f, ", with {other}")?;
        }
        shard_count.map_or(Ok(()), |count| write!(f, ", {count} shards"))
    }
}

/// Why a text is no name in SQL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlNameError {
    /// Nothing between two dots, or between two quotes.
    #[error("a name may not be empty")]
    Empty,
    /// PostgreSQL would cut it.
    #[error("a name has at most {IDENTIFIER_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// What SQL would fold.
    #[error("SQL reads capitals without quotes as small letters")]
    Capitals,
    /// What SQL would not read without quotes.
    #[error("without quotes a name has a-z, 0-9, _ and $, and starts with a letter or _")]
    Alphabet,
    /// A quoted name that does not end, or goes on.
    #[error("a name in quotes ends with its second quote; a quote within it is written twice")]
    Quotes,
    /// What nobody meant.
    #[error("a name has no control characters")]
    Control,
    /// More or fewer than there can be.
    #[error("{0}")]
    Parts(&'static str),
    /// PostgreSQL's or Citus' own.
    #[error("the schema {0} is not the application's")]
    System(String),
}

/// A table by its schema and name, both as the catalog has them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    schema: String,
    name: String,
}

impl TableName {
    /// Reads `orders`, `sales.orders` or `sales."Order Items"`; without a schema the table is in `public`.
    pub fn parse(text: &str) -> Result<Self, SqlNameError> {
        let mut parts = parts(text)?.into_iter();
        let table = match (parts.next(), parts.next(), parts.next()) {
            (Some(name), None, None) => Self::of(DEFAULT_SCHEMA, name),
            (Some(schema), Some(name), None) => Self::of(schema, name),
            _ => return Err(SqlNameError::Parts("a table is named by itself or with its schema: schema.table")),
        };
        let system = SYSTEM_SCHEMAS.contains(&table.schema.as_str()) || table.schema.starts_with("pg_");
        if system { Err(SqlNameError::System(table.schema)) } else { Ok(table) }
    }

    /// As the catalog has them.
    pub fn of(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    /// Its schema, without quotes.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Its own name, without quotes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// With its schema, as PostgreSQL reads a `regclass`: means the same whatever the search path is.
    pub fn qualified(&self) -> String {
        format!("{}.{}", quoted_where_needed(&self.schema), quoted_where_needed(&self.name))
    }

    /// With its schema, to stand in a statement: always in quotes, since a name may be a word of SQL.
    pub fn in_statement(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

impl fmt::Display for TableName {
    /// As people write it: `public` is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = quoted_where_needed(&self.name);
        let text = if self.schema == DEFAULT_SCHEMA { name } else { format!("{}.{name}", quoted_where_needed(&self.schema)) };
        f.pad(&text)
    }
}

impl Serialize for TableName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads a column's name: `customer` or `"Customer"`.
pub fn column(text: &str) -> Result<String, SqlNameError> {
    match parts(text)?.as_mut_slice() {
        [name] => Ok(std::mem::take(name)),
        _ => Err(SqlNameError::Parts("a column is named without its table")),
    }
}

/// A text as a literal of SQL, for statements that people are shown.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The names between dots, without their quotes.
fn parts(text: &str) -> Result<Vec<String>, SqlNameError> {
    let mut names = Vec::new();
    let mut rest = text;
    loop {
        let (name, after) = identifier(rest)?;
        names.push(name);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(names),
            None => return Err(SqlNameError::Quotes),
        }
    }
}

/// The first name of a text, and what follows it.
fn identifier(text: &str) -> Result<(String, &str), SqlNameError> {
    let (name, rest) = match text.strip_prefix('"') {
        Some(inner) => in_quotes(inner)?,
        None => {
            let (name, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
            let lower = name.to_ascii_lowercase();
            if !name.is_empty() && !needs_no_quotes(name) {
                return Err(if needs_no_quotes(&lower) { SqlNameError::Capitals } else { SqlNameError::Alphabet });
            }
            (name.to_owned(), rest)
        }
    };
    match name.len() {
        0 => Err(SqlNameError::Empty),
        length if length > IDENTIFIER_MAX => Err(SqlNameError::TooLong(length)),
        _ if name.chars().any(char::is_control) => Err(SqlNameError::Control),
        _ => Ok((name, rest)),
    }
}

/// A name up to its closing quote, and what follows that.
fn in_quotes(inner: &str) -> Result<(String, &str), SqlNameError> {
    let mut name = String::new();
    let mut rest = inner;
    loop {
        let end = rest.find('"').ok_or(SqlNameError::Quotes)?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return Ok((name, rest)),
        }
    }
}

/// Whether SQL reads this as it stands, as long as it is no word of SQL.
fn needs_no_quotes(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '$');
    name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') && name.chars().all(inner)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quoted_where_needed(name: &str) -> String {
    if needs_no_quotes(name) { name.to_owned() } else { quoted(name) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read_as_sql_reads_them() {
        let read = |text: &str| TableName::parse(text).map(|t| (t.schema().to_owned(), t.name().to_owned()));
        let public = |name: &str| Ok(("public".to_owned(), name.to_owned()));
        assert_eq!(read("orders"), public("orders"));
        assert_eq!(read("public.orders"), public("orders"));
        assert_eq!(read("sales.orders"), Ok(("sales".into(), "orders".into())));
        assert_eq!(read("\"Order Items\""), public("Order Items"));
        assert_eq!(read("\"a.b\".\"c\"\"d\""), Ok(("a.b".into(), "c\"d".into())));
        let wrong = [
            ("", SqlNameError::Empty),
            ("sales.", SqlNameError::Empty),
            ("\"\"", SqlNameError::Empty),
            ("Orders", SqlNameError::Capitals),
            ("order items", SqlNameError::Alphabet),
            ("1st", SqlNameError::Alphabet),
            ("x'; drop table y; --", SqlNameError::Alphabet),
            ("\"open", SqlNameError::Quotes),
            ("\"a\"b", SqlNameError::Quotes),
            ("\"a\u{0}b\"", SqlNameError::Control),
            ("pg_catalog.pg_class", SqlNameError::System("pg_catalog".into())),
        ];
        for (text, error) in wrong {
            assert_eq!(TableName::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(TableName::parse(&"x".repeat(64)), Err(SqlNameError::TooLong(64)));
        assert!(matches!(TableName::parse("a.b.c"), Err(SqlNameError::Parts(_))));
        assert_eq!(column("\"Customer\""), Ok("Customer".to_owned()));
        assert!(matches!(column("orders.customer"), Err(SqlNameError::Parts(_))));
    }

    #[test]
    fn names_are_quoted_where_it_matters() {
        let name = TableName::of("public", "order");
        assert_eq!((name.to_string().as_str(), name.qualified().as_str()), ("order", "public.order"));
        assert_eq!(name.in_statement(), "\"public\".\"order\"");
        let strange = TableName::of("Sales", "it's \"new\"");
        assert_eq!(strange.qualified(), "\"Sales\".\"it's \"\"new\"\"\"");
        assert_eq!(literal(&strange.qualified()), "'\"Sales\".\"it''s \"\"new\"\"\"'");
    }

    proptest! {
        /// Whatever a table is called, its text means that table and no other.
        #[test]
        fn what_is_written_is_read_back(schema in "[a-zA-Z_.\"' -]{1,20}", name in "\\PC{1,15}") {
            prop_assume!(!schema.starts_with("pg_"));
            let table = TableName::of(schema, name);
            prop_assert_eq!(TableName::parse(&table.qualified()), Ok(table.clone()));
            prop_assert_eq!(TableName::parse(&table.to_string()), Ok(table.clone()));
            prop_assert_eq!(TableName::parse(&table.in_statement()), Ok(table));
        }
    }
}
