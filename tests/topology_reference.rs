//! Holds `docs/topology.md` and the topology's format together: the tables of keys in it are derived from the JSON Schema.
//!
//! After a change of the format run this test with `UPDATE_DOCS=1`; it rewrites the tables and leaves the rest of the page alone.

use std::fmt::Write as _;
use std::path::Path;

use pgclusterctl::topology::schema::json_schema;
use pgclusterctl::topology::{TableName, ids, limits, tables, units};
use proptest::prelude::*;
use serde_json::Value;

const BEGIN: &str = "<!-- keys: derived from the schema, see tests/topology_reference.rs -->\n";
const END: &str = "<!-- end of keys -->";

/// Sections in the order in which a topology is written, with the header that each has in the file.
const SECTIONS: [(&str, &str); 27] = [
    ("", "Top of the file"),
    ("cluster", "[cluster]"),
    ("ssh", "[ssh]"),
    ("host", "[[host]]"),
    ("host.ssh", "[host.ssh]"),
    ("network", "[network]"),
    ("etcd", "[etcd]"),
    ("coordinators", "[coordinators]"),
    ("shards", "[shards]"),
    ("shard", "[[shard]]"),
    ("reader", "[[reader]]"),
    ("table", "[[table]]"),
    ("proxy", "[proxy]"),
    ("failover", "[failover]"),
    ("failover.promise", "[failover.promise]"),
    ("failover.promise.loss", "[failover.promise.loss]"),
    ("guard", "[guard]"),
    ("vector", "[vector]"),
    ("resources", ""),
    ("resources.etcd", "[resources.etcd], [resources.coordinator], [resources.worker], [resources.proxy]"),
    ("resources.coordinator", ""),
    ("resources.worker", ""),
    ("resources.proxy", ""),
    ("postgres", ""),
    ("postgres.parameters", "[postgres.parameters]"),
    ("pooler", "[pooler]"),
    ("images", "[images]"),
];

fn follow<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let name = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/"));
    let schema = name.map_or(schema, |name| &root["$defs"][name]);
    // A block that may be there several times is described by its items.
    match schema["items"]["$ref"].as_str() {
        Some(_) => follow(root, &schema["items"]),
        None => schema,
    }
}

fn section<'s>(root: &'s Value, name: &str) -> &'s Value {
    let mut schema = root;
    for part in name.split('.').filter(|p| !p.is_empty()) {
        schema = follow(root, &schema["properties"][part]);
    }
    schema
}

fn kind(root: &Value, property: &Value) -> String {
    let schema = follow(root, property);
    if let Some(words) = schema["oneOf"].as_array() {
        let words: Vec<String> = words.iter().filter_map(|w| w["const"].as_str()).map(|w| format!("`\"{w}\"`")).collect();
        return words.join(", ");
    }
    let kind = match (schema["type"].as_str().unwrap_or_default(), schema["pattern"].as_str()) {
        ("string", Some(limits::DURATION_PATTERN)) => "duration",
        ("string", Some(limits::SIZE_PATTERN)) => "size",
        ("string", Some(limits::NAME_PATTERN)) => "name",
        ("string", Some(limits::ADDRESS_PATTERN)) => "IPv4 address",
        ("string", Some(limits::NETWORK_PATTERN)) => "IPv4 address with prefix length",
        ("string", Some(limits::TABLE_PATTERN | limits::COLUMN_PATTERN)) => "name in SQL",
        ("string", _) => "text",
        ("integer", _) => "whole number",
        ("number", _) => "number",
        ("boolean", _) => "`true`, `false`",
        ("array", _) => "list of names",
        ("object", _) if schema["additionalProperties"].is_object() => "table of texts",
        (other, _) => other,
    };
    let bounds = match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
        (Some(min), Some(max)) => format!(", {min} to {max}"),
        (None, Some(max)) => format!(", at most {max}"),
        _ => String::new(),
    };
    format!("{kind}{bounds}")
}

/// The tables of all sections as Markdown.
fn tables() -> String {
    let root = json_schema();
    let mut out = String::new();
    for (name, header) in SECTIONS.iter().filter(|(_, header)| !header.is_empty()) {
        let schema = section(&root, name);
        let headers = header.split(", ").map(|h| if name.is_empty() { h.to_owned() } else { format!("`{h}`") });
        write!(out, "\n### {}\n", headers.collect::<Vec<_>>().join(", ")).expect("a string takes all");
        if let Some(text) = note(name) {
            write!(out, "\n{text}\n").expect("a string takes all");
        }
        let Some(properties) = schema["properties"].as_object() else { continue };
        out.push_str("\n| key | type | default | meaning |\n|---|---|---|---|\n");
        for (key, property) in properties {
            let inner = follow(&root, property);
            // Sections have tables of their own.
            if inner["type"] == "object" && !inner["additionalProperties"].is_object() {
                continue;
            }
            let required = schema["required"].as_array().is_some_and(|r| r.iter().any(|k| k == key));
            let description = property["description"].as_str().unwrap_or_default();
            let (meaning, default) = description.split_once(" Default: ").unwrap_or((description, ""));
            let default = if required { "required" } else { default.trim_end_matches('.') };
            assert!(!default.is_empty(), "{name}.{key}: its description does not say the default");
            let kind = kind(&root, property);
            writeln!(out, "| `{key}` | {kind} | {default} | {meaning} |").expect("a string takes all");
        }
    }
    out.push('\n');
    out
}

fn note(name: &str) -> Option<&'static str> {
    match name {
        "host" => Some("One block per Docker host, in the order in which automatic placement goes round."),
        "host.ssh" => Some("Also as `ssh = { port = 2222 }` within the host's block."),
        "table" => Some(
            "One block per table of the application, each with either `distribution_column` or `reference = true`; `up` and `schema apply` \
             spread them ([shards.md](shards.md#tables)).",
        ),
        "shard" => Some(
            "One block per shard group, in the order of their numbers, instead of `shards.count`. `pgclusterctl scale` writes and removes \
             such blocks.",
        ),
        "reader" => Some(
            "One block per reader: a standby without a vote, which never leads and which no commit waits for \
             ([scaling.md](scaling.md#readers)). `pgclusterctl scale` writes and removes such blocks.",
        ),
        "failover.promise" => Some(
            "How long writes may fail, as clients see it through the VIP: from the last commit before the event to the first one \
             after it. A promise that the settings cannot keep is refused; `topology budget` shows why.",
        ),
        "failover.promise.loss" => {
            Some("Acknowledged transactions that may be lost in any of these events. 0 wants `sync` or `quorum` replication.")
        }
        "guard" => Some("One guard beside each etcd member revokes the lease of a leader that has ceased to renew it."),
        "resources.etcd" => Some("A limit holds for each service of the role, also when several share a host."),
        "postgres.parameters" => Some(
            "Any setting of PostgreSQL or an extension (`\"citus.…\"`, in quotes), as text, number or boolean. It holds in every group \
             and wins over what is derived. Settings that Patroni or pgclusterctl must own are refused with the owner's name.",
        ),
        _ => None,
    }
}

#[test]
fn the_page_has_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/topology.md");
    let page = std::fs::read_to_string(&path).expect("docs/topology.md is there");
    let (before, rest) = page.split_once(BEGIN).expect("the page has a place for the tables");
    let (written, after) = rest.split_once(END).expect("the tables end");
    let derived = tables();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{derived}{END}{after}")).expect("the page can be written");
        return;
    }
    assert_eq!(written, derived, "run `UPDATE_DOCS=1 cargo test --test topology_reference`");
}

#[test]
fn every_section_of_the_format_has_its_place_on_the_page() {
    let root = json_schema();
    let mut missing = Vec::new();
    let mut open = vec![String::new()];
    while let Some(name) = open.pop() {
        if !SECTIONS.iter().any(|(known, _)| *known == name) {
            missing.push(name.clone());
        }
        for (key, property) in section(&root, &name)["properties"].as_object().into_iter().flatten() {
            let inner = follow(&root, property);
            if inner["type"] == "object" && (inner["properties"].is_object() || key == "parameters") {
                open.push(if name.is_empty() { key.clone() } else { format!("{name}.{key}") });
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

/// A default that can be written as it stands on the page: a word in backticks, a number, `true` or `false`.
fn literal(property: &Value, kind: &str) -> Option<toml::Value> {
    let (_, default) = property["description"].as_str()?.split_once(" Default: ")?;
    let first = default.split([';', ' ']).next()?.trim_end_matches('.');
    match kind {
        "integer" => first.parse().ok().map(toml::Value::Integer),
        "boolean" => first.parse().ok().map(toml::Value::Boolean),
        _ => Some(toml::Value::String(first.strip_prefix('`')?.strip_suffix('`')?.to_owned())),
    }
}

/// Writing a default out changes nothing: the page says what the program does.
#[test]
fn defaults_on_the_page_are_those_of_the_program() {
    let root = json_schema();
    let base: toml::Table = toml::from_str(
        r#"
        schema = 1
        cluster = { name = "pgcluster" }
        host = [
            { name = "host1", address = "10.0.0.10" },
            { name = "host2", address = "10.0.0.11" },
            { name = "host3", address = "10.0.0.12" },
        ]
        network = { vip = "10.0.0.100/24" }
        shards = { count = 3 }
        "#,
    )
    .expect("the base is TOML");
    let resolve = |file: &toml::Table, what: &str| {
        let text = file.to_string();
        let result = pgclusterctl::topology::parse(&text, Path::new("topology.toml"));
        result.unwrap_or_else(|findings| panic!("{what}: {findings:?}\n{text}")).0
    };
    let expected = resolve(&base, "base");
    let mut tried = 0;
    for (name, _) in SECTIONS.iter().filter(|(name, _)| !["", "host", "host.ssh", "shard", "table"].contains(name)) {
        for (key, property) in section(&root, name)["properties"].as_object().into_iter().flatten() {
            let inner = follow(&root, property);
            let Some(value) = literal(property, inner["type"].as_str().unwrap_or("string")) else { continue };
            let mut file = base.clone();
            let mut table = &mut file;
            for part in name.split('.') {
                let inner = table.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
                table = inner.as_table_mut().expect("a section is a table");
            }
            table.insert(key.clone(), value);
            assert_eq!(resolve(&file, &format!("{name}.{key}")), expected, "{name}.{key}");
            tried += 1;
        }
    }
    assert!(tried >= 20, "only {tried} defaults were understood");
}

fn accepts(pattern: &str, text: &str) -> bool {
    regex::Regex::new(pattern).expect("the pattern is a regular expression").is_match(text)
}

proptest! {
    /// What editors are told to accept is what the program accepts.
    #[test]
    fn forms_in_the_schema_are_those_of_the_check(
        name in "[a-z0-9A-Z-]{0,26}", duration in "[0-9]{0,3}(ms|s|m|h|d|)", size in "[0-9]{0,3}([kKMGTP]?(B|iB|)| MB)",
        sql in "(\"?[a-z1$A .\"]{0,4}\"?\\.?){0,3}",
    ) {
        prop_assert_eq!(accepts(limits::NAME_PATTERN, &name), ids::check_name(&name).is_ok(), "{}", name);
        prop_assert_eq!(accepts(limits::DURATION_PATTERN, &duration), units::parse_duration(&duration).is_ok(), "{}", duration);
        prop_assert_eq!(accepts(limits::TABLE_PATTERN, &sql), TableName::parse(&sql).is_ok(), "{}", sql);
        prop_assert_eq!(accepts(limits::COLUMN_PATTERN, &sql), tables::column(&sql).is_ok(), "{}", sql);
        prop_assert_eq!(accepts(limits::SIZE_PATTERN, &size), units::parse_size(&size).is_ok(), "{}", size);
    }
}
