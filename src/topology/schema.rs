//! The format as a JSON Schema, and the check of a file against it, which reports every structural mistake with its place.
//!
//! The schema is derived from [`super::file`], so the decoder, the editors' completion and this check cannot disagree. serde
//! stops at the first mistake; this check does not, and it takes what it complains about out of the tree, so that the rest can
//! be decoded and its meaning checked in the same run. Called by [`super::resolve`]; [`json_schema`] by `topology schema`.

use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::file::TopologyFile;
use super::finding::Finding;

/// The JSON Schema (draft 2020-12) of `topology.toml`.
pub fn json_schema() -> Value {
    let mut schema = schemars::schema_for!(TopologyFile).to_value();
    drop_null(&mut schema);
    schema
}

/// TOML has no null: an optional key is left out. Takes the alternative `null` out of a derived schema.
fn drop_null(node: &mut Value) {
    let is_null = |v: &Value| v.get("type").is_some_and(|t| t == "null");
    if let Some(object) = node.as_object_mut() {
        if let Some(Value::Array(types)) = object.get_mut("type") {
            types.retain(|t| t != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                object.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
            choices.retain(|c| !is_null(c));
            if let [only] = choices.as_slice() {
                let only = only.clone();
                object.remove("anyOf");
                if let Value::Object(only) = only {
                    // The key's own description says more than that of its type.
                    for (key, value) in only {
                        object.entry(key).or_insert(value);
                    }
                }
            }
        }
        object.values_mut().for_each(drop_null);
    } else if let Some(items) = node.as_array_mut() {
        items.iter_mut().for_each(drop_null);
    }
}

/// Checks a parsed file and removes from it every key that is unknown or has a value of the wrong kind.
pub(super) fn check(file: &mut DeTable<'_>, findings: &mut Vec<Finding>) {
    let root = json_schema();
    let mut walk = Walk { root: &root, findings };
    walk.table(file, &root, "", None);
}

struct Walk<'s, 'f> {
    root: &'s Value,
    findings: &'f mut Vec<Finding>,
}

impl<'s> Walk<'s, '_> {
    /// Checks a table whose dotted name is `name` (empty for the file itself) and whose header stands at `header`.
    fn table(&mut self, table: &mut DeTable<'_>, schema: &'s Value, name: &str, header: Option<Range<usize>>) {
        self.rename_misspelled(table, schema, name);
        let mut wrong: Vec<Spanned<DeString<'_>>> = Vec::new();
        for (key, value) in table.iter_mut() {
            let path = if name.is_empty() { key.get_ref().to_string() } else { format!("{name}.{}", key.get_ref()) };
            if let Some(expected) = property(schema, key.get_ref())
                && !self.value(value, expected, &path)
            {
                wrong.push(key.clone());
            }
        }
        for required in strings(&schema["required"]) {
            let (span, stands) = match table.get_key_value(required) {
                Some((_, value)) => (value.span(), !wrong.iter().any(|key| key.get_ref() == required)),
                None => {
                    self.missing_key(required, schema, name, header.clone());
                    (header.clone().unwrap_or_default(), false)
                }
            };
            if !stands && let Some(stand_in) = stand_in(self.follow(&schema["properties"][required]), required) {
                wrong.retain(|key| key.get_ref() != required);
                table.remove(required);
                table.insert(Spanned::new(span.clone(), required.to_owned().into()), Spanned::new(span, stand_in));
            }
        }
        for key in wrong {
            table.remove(key.get_ref().as_ref());
        }
    }

    /// Reports unknown keys and takes them out; what was probably meant takes their value, so that a misspelled key is one
    /// mistake and not also a missing one, and its value is checked too.
    fn rename_misspelled(&mut self, table: &mut DeTable<'_>, schema: &'s Value, name: &str) {
        let unknown: Vec<Spanned<DeString<'_>>> =
            table.keys().filter(|key| property(schema, key.get_ref()).is_none()).cloned().collect();
        for key in unknown {
            let meant = self.unknown_key(&key, schema, name);
            let value = table.remove(key.get_ref().as_ref());
            if let (Some(meant), Some(value)) = (meant, value)
                && !table.contains_key(meant)
            {
                table.insert(Spanned::new(key.span(), meant.to_owned().into()), value);
            }
        }
    }

    /// Checks a value; false when it must not be decoded.
    fn value(&mut self, value: &mut Spanned<DeValue<'_>>, schema: &'s Value, path: &str) -> bool {
        let schema = self.follow(schema);
        let span = value.span();
        if let Some(allowed) = choices(schema) {
            return self.choice(value, &allowed, path);
        }
        if let Some(alternatives) = schema["anyOf"].as_array() {
            let fits = alternatives.iter().any(|s| s["type"].as_str().is_some_and(|t| is_kind(value.get_ref(), t)));
            if !fits {
                self.wrong_kind(value, "a text in quotes, a number, true or false", String::new(), path);
            }
            return fits;
        }
        let Some(kind) = schema["type"].as_str() else { return true };
        if !is_kind(value.get_ref(), kind) {
            let help = self.help_for_kind(value.get_ref(), kind, path);
            self.wrong_kind(value, kind_name(kind), help, path);
            return false;
        }
        match value.get_mut() {
            DeValue::Table(table) => {
                self.table(table, schema, path, Some(span));
                true
            }
            DeValue::Array(items) => {
                let before = self.findings.len();
                let is_block = self.follow(&schema["items"])["type"] == "object";
                for item in items.iter_mut() {
                    self.value(item, &schema["items"], path);
                }
                // A block that lacks something was pruned itself; an item of a list cannot be, so its list goes.
                is_block || self.findings.len() == before
            }
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
                self.in_range(parsed, schema, span, path)
            }
            _ => true,
        }
    }

    fn in_range(&mut self, number: Option<i64>, schema: &'s Value, span: Range<usize>, path: &str) -> bool {
        // Whether the number can be decoded at all. The schema's own bounds are for editors: the check of the meaning says better
        // why a value beyond them makes no sense.
        let (min, max) = match schema["format"].as_str() {
            Some("uint8") => (0, i64::from(u8::MAX)),
            Some("uint16") => (0, i64::from(u16::MAX)),
            Some("uint32") => (0, i64::from(u32::MAX)),
            _ => (i64::MIN, i64::MAX),
        };
        if number.is_some_and(|n| (min..=max).contains(&n)) {
            return true;
        }
        self.findings.push(
            Finding::error("number-range", span, format!("{path} is out of range"))
                .label(format!("{min} to {max}"))
                .help(format!("write a whole number from {min} to {max}")),
        );
        false
    }

    fn choice(&mut self, value: &Spanned<DeValue<'_>>, allowed: &[&str], path: &str) -> bool {
        let list = allowed.iter().map(|a| format!("\"{a}\"")).collect::<Vec<_>>().join(", ");
        let DeValue::String(text) = value.get_ref() else {
            self.wrong_kind(value, "one of these words", format!("write one of {list}"), path);
            return false;
        };
        if allowed.contains(&text.as_ref()) {
            return true;
        }
        let help = match nearest(&text.to_lowercase(), allowed) {
            Some(word) => format!("did you mean \"{word}\"? Possible are {list}"),
            None => format!("write one of {list}"),
        };
        self.findings.push(
            Finding::error("unknown-value", value.span(), format!("{path} cannot be {:?}", text.as_ref()))
                .label("not one of the possible words")
                .help(help),
        );
        false
    }

    /// Reports an unknown key; returns the known one that was probably meant.
    fn unknown_key(&mut self, key: &Spanned<DeString<'_>>, schema: &'s Value, name: &str) -> Option<&'s str> {
        let word = key.get_ref().as_ref();
        let known: Vec<&str> =
            schema["properties"].as_object().map(|p| p.keys().map(String::as_str).collect()).unwrap_or_default();
        let place = if name.is_empty() { "at the top of the file".to_owned() } else { format!("in {}", self.section(name)) };
        let similar = nearest(word, &known);
        let help = if let Some(similar) = similar {
            format!("did you mean {similar}?")
        } else if let Some(home) = self.homes(word).first() {
            format!("{word} belongs in {}", self.section(home))
        } else if known.is_empty() {
            "remove it".to_owned()
        } else {
            format!("known {place} are {}", known.join(", "))
        };
        self.findings.push(
            Finding::error("unknown-key", key.span(), format!("there is no key {word:?} {place}"))
                .label("unknown key")
                .help(help),
        );
        similar
    }

    /// A section's header as it is written.
    fn section(&self, name: &str) -> String {
        if self.root["properties"][name]["type"] == "array" { format!("[[{name}]]") } else { format!("[{name}]") }
    }

    /// Sections of the file that have a key of this name.
    fn homes(&self, word: &str) -> Vec<&'s str> {
        let sections = self.root["properties"].as_object().into_iter().flatten();
        sections
            .filter(|(_, schema)| {
                let schema = self.follow(schema);
                let section = if schema["type"] == "array" { self.follow(&schema["items"]) } else { schema };
                section["properties"].get(word).is_some()
            })
            .map(|(name, _)| name.as_str())
            .collect()
    }

    fn missing_key(&mut self, key: &str, schema: &'s Value, name: &str, header: Option<Range<usize>>) {
        let expected = self.follow(&schema["properties"][key]);
        let what = schema["properties"][key]["description"].as_str().unwrap_or_default();
        let help = match (name, key, expected["type"].as_str()) {
            ("", "schema", _) => "write schema = 1 in the first line".to_owned(),
            ("", _, Some("object")) => format!("add a section [{key}]: {}", uncapitalized(what)),
            (_, _, Some("array")) => format!("add {key} = [\"…\"]: {}", uncapitalized(what)),
            _ => format!("add {key} = \"…\": {}", uncapitalized(what)),
        };
        let place = if name.is_empty() { "the file".to_owned() } else { self.section(name) };
        self.findings.push(
            Finding::error("missing-key", header, format!("{place} lacks {key}")).label(format!("{key} is missing")).help(help),
        );
    }

    fn wrong_kind(&mut self, value: &Spanned<DeValue<'_>>, expected: &str, help: String, path: &str) {
        let found = kind_of(value.get_ref());
        self.findings.push(
            Finding::error("wrong-type", value.span(), format!("{path} is {found}"))
                .label(format!("expected {expected}"))
                .help(help),
        );
    }

    /// What to write when the value has another kind than expected.
    fn help_for_kind(&self, value: &DeValue<'_>, expected: &str, path: &str) -> String {
        let key = path.rsplit('.').next().unwrap_or(path);
        match (value, expected) {
            (DeValue::String(s), "integer") if s.parse::<i64>().is_ok() => format!("write it without quotes: {key} = {s}"),
            (DeValue::String(s), "number") if s.parse::<f64>().is_ok() => format!("write it without quotes: {key} = {s}"),
            (DeValue::String(s), "boolean") if matches!(s.as_ref(), "true" | "false") => {
                format!("write it without quotes: {key} = {s}")
            }
            (DeValue::String(_), "boolean") => format!("write {key} = true or {key} = false"),
            (DeValue::String(s), "array") => format!("write it as a list: {key} = [\"{s}\"]"),
            (DeValue::Float(x), "integer") => format!("write a whole number, not {}", x.as_str()),
            (DeValue::Integer(n), "string") => format!("write it in quotes: {key} = \"{n}\""),
            (DeValue::Float(x), "string") => format!("write it in quotes: {key} = \"{}\"", x.as_str()),
            (DeValue::Boolean(b), "string") => format!("write it in quotes: {key} = \"{b}\""),
            (DeValue::Table(_), "array") => format!("write [[{path}]], with two brackets: there may be several"),
            (DeValue::Array(_), "object") => format!("write [{path}], with single brackets: there is only one"),
            (_, "object") => format!("write a section: [{path}]"),
            _ => String::new(),
        }
    }

    fn follow(&self, schema: &'s Value) -> &'s Value {
        let name = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/"));
        name.map_or(schema, |name| &self.root["$defs"][name])
    }
}

/// The schema of a table's key; `None` when the table has no such key.
fn property<'s>(schema: &'s Value, key: &str) -> Option<&'s Value> {
    schema["properties"].get(key).or_else(|| schema.get("additionalProperties").filter(|s| s.is_object()))
}

/// The words that a value may be, when the schema lists them.
fn choices(schema: &Value) -> Option<Vec<&str>> {
    let words = schema["oneOf"].as_array()?.iter().map(|choice| choice["const"].as_str());
    words.collect()
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn is_kind(value: &DeValue<'_>, kind: &str) -> bool {
    matches!(
        (value, kind),
        (DeValue::String(_), "string")
            | (DeValue::Integer(_), "integer" | "number")
            | (DeValue::Float(_), "number")
            | (DeValue::Boolean(_), "boolean")
            | (DeValue::Array(_), "array")
            | (DeValue::Table(_), "object")
    )
}

fn kind_name(kind: &str) -> &str {
    match kind {
        "string" => "a text in quotes",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a section",
        other => other,
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// The known word that was probably meant: at most a third of it mistyped, or one the beginning of the other.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let distance = |k: &str| strsim::damerau_levenshtein(k, word);
    let close = known.iter().map(|&k| (distance(k), k)).filter(|&(d, k)| d * 3 <= k.chars().count().max(3)).min();
    let begins = |k: &&&str| word.len() >= 4 && (k.starts_with(word) || (k.len() >= 4 && word.starts_with(**k)));
    close.map(|(_, k)| k).or_else(|| known.iter().find(begins).copied())
}

/// What is decoded in place of a required key that is missing or wrong, so that the meaning of the rest can be checked. It stands
/// at the finding about it, which hides whatever the meaning's check says about that place.
fn stand_in<'i>(schema: &Value, key: &str) -> Option<DeValue<'i>> {
    match (schema["type"].as_str()?, key) {
        ("string", _) => Some(DeValue::String("".into())),
        ("array", _) => Some(DeValue::Array(DeArray::new())),
        ("integer", "schema") => DeValue::parse("1").ok().map(Spanned::into_inner),
        _ => None,
    }
}

/// The first sentence of a description as the end of another. Acronyms and names that begin it keep their capitals.
fn uncapitalized(text: &str) -> String {
    let text = text.split(". ").next().unwrap_or_default().trim_end_matches('.');
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() && !text.starts_with("Patroni") => {
            first.to_lowercase().chain([second]).chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}
