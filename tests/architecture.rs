//! The rules of `docs/architecture.md` that a compiler does not hold: who may import whom, which modules stay pure, who may
//! make a consent, who may print, and how long a file may get.
//!
//! Source files are read as tokens, so a comment or a string never counts as code. The rules are in [`rules`]; the tests at
//! the end run them over `src/` and, so that the checker is known to see, over code that breaks each of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// Layers from the ground up. A module may import from layers below its own, never from its own or from above.
const LAYERS: &[&[&str]] = &[
    &["error", "quantity", "random", "consent"],
    &["topology"],
    // What is plain data in the modules of `PLAIN_DATA` stands here.
    &[],
    &["templates"],
    &["plan", "shards", "traffic", "health"],
    &["remote"],
    &["observe"],
    &["steps"],
    &["engine"],
    &["output"],
    &["images"],
    &["lab", "failover", "guard"],
    &["drill"],
    &["vector"],
    &["cli", "context", "commands"],
];
/// The layer of plain data.
const DATA: usize = 2;
/// The uppermost layer ties the command line together; its modules know each other.
const TOP: usize = LAYERS.len() - 1;

/// Files with plain data that anyone above `topology` may use, though the modules they stand in are higher.
const PLAIN_DATA: &[(&str, &str)] = &[
    ("observe", "src/observe/model.rs"),
    ("engine", "src/engine/event.rs"),
    ("drill", "src/drill/budget.rs"),
    ("drill", "src/drill/history.rs"),
    ("drill", "src/drill/millis.rs"),
    ("drill", "src/drill/outage.rs"),
    ("drill", "src/drill/report.rs"),
    ("drill", "src/drill/scenario.rs"),
    ("drill", "src/drill/scenario/list.rs"),
    ("drill", "src/drill/scenario/need.rs"),
    ("drill", "src/drill/verdict.rs"),
    ("vector", "src/vector/report.rs"),
];

/// A type that belongs to a higher module by its owner and to the ground by what it is: a flag that Ctrl-C sets.
const PLAIN_TYPES: &[(&str, &str)] = &[("context", "Interrupt")];

/// Modules that decide: values in, values out. No I/O, no clock, no async.
const PURE: &[&str] = &["random", "topology", "templates", "plan", "health", "shards", "traffic"];

/// Files that decide, in modules that also do.
const PURE_FILES: &[&str] = &[
    "src/drill/budget.rs",
    "src/drill/checker/",
    "src/drill/final_read.rs",
    "src/drill/history.rs",
    "src/drill/outage.rs",
    "src/drill/report.rs",
    "src/drill/scenario/",
    "src/drill/target.rs",
    "src/drill/verdict.rs",
    "src/drill/workload/classify.rs",
    "src/drill/workload/script.rs",
    "src/drill/workload/tables.rs",
    "src/guard/deed.rs",
    "src/guard/watch.rs",
    "src/vector/data.rs",
    "src/vector/explain.rs",
    "src/vector/report.rs",
    "src/vector/schema.rs",
];

/// Where a pure module touches the outside after all.
const IMPURE: &[(&str, &str)] = &[
    // Reads the topology file itself.
    ("src/topology/resolve.rs", "std::fs"),
    // What `~` stands for in paths of the topology file.
    ("src/topology/sections/hosts.rs", "std::env"),
    // Reads the record of a drill.
    ("src/drill/history.rs", "std::fs"),
    // Answers and errors of tokio_postgres, as values.
    ("src/drill/workload/classify.rs", "tokio"),
    ("src/drill/workload/script.rs", "tokio"),
];

/// Where printing is the purpose.
const PRINTERS: &[&str] = &["src/output/", "src/error.rs", "src/main.rs"];

/// Where an operator's answer becomes a consent.
const CONSENT_MAKER: &str = "src/output/ui.rs";

/// A file wants to be two from here on,
const LONG: usize = 500;
/// and has to be from here on.
const TOO_LONG: usize = 600;

/// A source file with what its tokens say.
struct Source {
    path: String,
    lines: usize,
    has_header: bool,
    /// Not tests.
    code: Vec<Fact>,
    /// Names of types that it defines.
    types: BTreeSet<String>,
    /// Modules declared under `#[cfg(test)]`, as paths of their files.
    test_files: Vec<String>,
    /// Inline modules around what is being read.
    inline: Vec<String>,
}

struct Fact {
    line: usize,
    what: What,
}

enum What {
    /// A path into the crate, e.g. `observe::model::Probe`, or out of it, e.g. `std::fs::read`.
    Path(Vec<String>),
    Macro(String),
    Method(String),
    Keyword(&'static str),
}

impl Source {
    fn read(path: &str, text: &str) -> Self {
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path}: not Rust: {error}"));
        let mut source = Self {
            path: path.to_owned(),
            lines: text.lines().count(),
            has_header: text.starts_with("//!"),
            code: Vec::new(),
            types: BTreeSet::new(),
            test_files: Vec::new(),
            inline: Vec::new(),
        };
        source.walk(tokens);
        source
    }

    /// First segment of its module path; empty for the crate's root.
    fn module(&self) -> &str {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let module = inner.split('/').next().unwrap_or_default();
        if matches!(module, "main" | "lib") { "" } else { module }
    }

    /// Path of the module that is being read, e.g. `["topology", "sections", "hosts"]`.
    fn module_path(&self) -> Vec<String> {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        let file = inner.split('/').filter(|part| !matches!(*part, "main" | "lib"));
        file.map(str::to_owned).chain(self.inline.iter().cloned()).collect()
    }

    fn walk(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            if let Some(next) = self.skip_test_item(&tokens, at) {
                at = next;
                continue;
            }
            self.note(&tokens, at);
            if let TokenTree::Group(inner) = &tokens[at] {
                let is_module = at >= 2 && ident(tokens.get(at - 2)).as_deref() == Some("mod");
                self.inline.extend(ident(tokens.get(at.wrapping_sub(1))).filter(|_| is_module));
                self.walk(inner.stream());
                self.inline.truncate(self.inline.len() - usize::from(is_module));
            }
            at += 1;
        }
    }

    /// The position after an item under `#[cfg(test)]`, if one starts here.
    fn skip_test_item(&mut self, tokens: &[TokenTree], at: usize) -> Option<usize> {
        let attribute =
            |at: usize| (is_punct(tokens.get(at), '#')).then(|| group(tokens.get(at + 1), Delimiter::Bracket)).flatten();
        let is_test = attribute(at)?.stream().to_string().replace(' ', "") == "cfg(test)";
        if !is_test {
            return None;
        }
        let mut at = at;
        while attribute(at).is_some() {
            at += 2;
        }
        if ident(tokens.get(at)) == Some("mod".into()) && is_punct(tokens.get(at + 2), ';') {
            let name = ident(tokens.get(at + 1)).unwrap_or_default();
            self.test_files.push(format!("src/{}/{name}.rs", self.module_path().join("/")));
        }
        let end = |token: &TokenTree| is_punct(Some(token), ';') || group(Some(token), Delimiter::Brace).is_some();
        Some(tokens[at..].iter().position(end).map_or(tokens.len(), |length| at + length + 1))
    }

    fn note(&mut self, tokens: &[TokenTree], at: usize) {
        let line = tokens[at].span().start().line;
        let previous = at.checked_sub(1).and_then(|before| tokens.get(before));
        let Some(name) = ident(tokens.get(at)) else { return };
        let mut add = |what| self.code.push(Fact { line, what });
        match name.as_str() {
            "async" => add(What::Keyword("async")),
            "struct" | "enum" => self.types.extend(ident(tokens.get(at + 1))),
            _ if is_punct(tokens.get(at + 1), '!') => add(What::Macro(name)),
            _ if is_punct(previous, '.') && group(tokens.get(at + 1), Delimiter::Parenthesis).is_some() => {
                add(What::Method(name))
            }
            // A path is noted once, at its first segment.
            _ if is_punct(tokens.get(at + 1), ':') && is_punct(tokens.get(at + 2), ':') && !is_punct(previous, ':') => {
                let mut paths = Vec::new();
                expand(&tokens[at..], &mut Vec::new(), &mut paths);
                let absolute: Vec<_> = paths.into_iter().filter_map(|path| self.absolute(path)).collect();
                self.code.extend(absolute.into_iter().map(|path| Fact { line, what: What::Path(path) }));
            }
            _ => {}
        }
    }

    /// A path as seen from the crate's root, without `crate`; relative ones that stay within the module are dropped.
    fn absolute(&self, path: Vec<String>) -> Option<Vec<String>> {
        if path[0] != "super" {
            return Some(path);
        }
        let ups = path.iter().take_while(|segment| *segment == "super").count();
        let mut base = self.module_path();
        base.truncate(base.len().saturating_sub(ups));
        let root = base.is_empty().then(|| "crate".to_owned());
        root.map(|root| std::iter::once(root).chain(path.into_iter().skip(ups)).collect())
    }
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn ident(token: Option<&TokenTree>) -> Option<String> {
    match token {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

fn group(token: Option<&TokenTree>, delimiter: Delimiter) -> Option<&Group> {
    match token {
        Some(TokenTree::Group(group)) if group.delimiter() == delimiter => Some(group),
        _ => None,
    }
}

/// All paths of a use tree: `a::{b, c::D}` is `a::b` and `a::c::D`.
fn expand(tokens: &[TokenTree], prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    let length = prefix.len();
    if let Some(group) = group(tokens.first(), Delimiter::Brace) {
        let inner: Vec<TokenTree> = group.stream().into_iter().collect();
        inner.split(|token| is_punct(Some(token), ',')).for_each(|part| expand(part, prefix, paths));
    } else if let Some(segment) = ident(tokens.first()) {
        prefix.push(segment);
        let more = is_punct(tokens.get(1), ':') && is_punct(tokens.get(2), ':');
        if more { expand(&tokens[3..], prefix, paths) } else { paths.push(prefix.clone()) }
    } else if !tokens.is_empty() {
        // A glob, or the generic arguments of a call: the path is what stands before.
        paths.push(prefix.clone());
    }
    prefix.truncate(length);
}

/// Everything in which these files break a rule, as `path:line: what`.
fn rules(files: &[(String, String)]) -> Vec<String> {
    let sources: Vec<Source> = files.iter().map(|(path, text)| Source::read(path, text)).collect();
    let tests: BTreeSet<&str> = sources.iter().flat_map(|s| &s.test_files).map(String::as_str).collect();
    let mut found = Vec::new();
    for source in &sources {
        if source.lines > TOO_LONG {
            found.push(format!("{}: {} lines; a file of more than {TOO_LONG} is two", source.path, source.lines));
        }
        if !tests.contains(source.path.as_str()) {
            if !source.has_header {
                found.push(format!("{}: begins without a `//!` that says what it is for", source.path));
            }
            let broken = source.code.iter().filter_map(|fact| Some((fact.line, breach(source, &fact.what, &sources)?)));
            found.extend(broken.map(|(line, why)| format!("{}:{line}: {why}", source.path)));
        }
    }
    found
}

/// The rule that a piece of code breaks, in words.
fn breach(source: &Source, what: &What, all: &[Source]) -> Option<String> {
    let path = source.path.as_str();
    let pure = PURE.contains(&source.module()) || PURE_FILES.iter().any(|file| path.starts_with(file));
    match what {
        What::Macro(name) if matches!(name.as_str(), "print" | "println" | "eprint" | "eprintln" | "dbg") => {
            let printer = PRINTERS.iter().any(|printer| path.starts_with(printer));
            (!printer).then(|| format!("`{name}!` outside of src/output: return a report, or use Ui::note"))
        }
        What::Method(name) if name == "unwrap" => {
            Some("`unwrap()`: use `?`, or `expect` with the invariant as its text".into())
        }
        What::Keyword(keyword) if pure => Some(format!("`{keyword}` in a pure module")),
        What::Path(segments) => {
            let text = segments.join("::");
            if text.ends_with("Consent::given") && path != CONSENT_MAKER {
                return Some(format!("makes a consent; only the operator's answer in {CONSENT_MAKER} does"));
            }
            if pure && let Some(outside) = outside(&text) {
                let known = IMPURE.contains(&(path, outside));
                return (!known).then(|| format!("`{outside}` in a pure module"));
            }
            (segments[0] == "crate").then(|| import(source, &segments[1..], all)).flatten()
        }
        _ => None,
    }
}

/// The part of the outside world that a path leads to.
fn outside(path: &str) -> Option<&'static str> {
    const WORLD: [&str; 11] = [
        "std::fs",
        "std::env",
        "std::process",
        "std::thread",
        "std::net::Tcp",
        "tokio",
        "rand",
        "rustix",
        "Instant::now",
        "SystemTime::now",
        "Timestamp::now",
    ];
    WORLD.into_iter().find(|world| path.starts_with(world) || (world.ends_with("::now") && path.ends_with(world)))
}

/// Why this file may not import that path of the crate.
fn import(source: &Source, target: &[String], all: &[Source]) -> Option<String> {
    let from = source.module();
    let to = target.first()?.as_str();
    if from.is_empty() || from == to {
        return None;
    }
    let unknown = |name: &str| format!("`{name}` has no layer: give it one in tests/architecture.rs and docs/architecture.md");
    let above = match PLAIN_DATA.iter().find(|(_, file)| *file == source.path) {
        Some(_) => DATA,
        None => match layer(from) {
            Some(layer) => layer,
            None => return Some(unknown(from)),
        },
    };
    let below = if is_plain(target, all) { DATA } else { layer(to).map_or(usize::MAX, |layer| layer) };
    if below == usize::MAX {
        return Some(unknown(to));
    }
    let allowed = below < above || (above == TOP && below == TOP);
    (!allowed).then(|| format!("{from} may not use {}: imports run downward only", target.join("::")))
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Whether a path names plain data: its file, or a type that the file defines and its module re-exports.
fn is_plain(target: &[String], all: &[Source]) -> bool {
    let [module, name, ..] = target else { return false };
    let in_file = |(owner, file): &(&str, &str)| {
        let stem = file.trim_end_matches(".rs").rsplit('/').next();
        let defines = || all.iter().any(|source| source.path == *file && source.types.contains(name));
        owner == module && (stem == Some(name) || defines())
    };
    PLAIN_DATA.iter().any(in_file) || PLAIN_TYPES.contains(&(module, name))
}

fn read_folder(folder: &Path, files: &mut Vec<(String, String)>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("a folder of the project").map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read_folder(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("below the project").display().to_string();
            files.push((name, fs::read_to_string(&path).expect("a text file")));
        }
    }
}

fn project() -> Vec<(String, String)> {
    let mut files = Vec::new();
    read_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    files
}

#[test]
fn the_code_holds_the_rules() {
    let files = project();
    assert!(files.len() > 50, "only {} files were found", files.len());
    let broken = rules(&files);
    assert!(broken.is_empty(), "{} breaches:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn long_files_are_named() {
    for (path, text) in project().iter().filter(|(_, text)| text.lines().count() > LONG) {
        eprintln!("warning: {path} has {} lines; beyond {LONG} it wants to be two files", text.lines().count());
    }
}

/// What the checker says about one file.
fn said(path: &str, code: &str) -> Vec<String> {
    let model = ("src/observe/model.rs".to_owned(), "//! Data.\npub enum Probe {}\n".to_owned());
    rules(&[model, (path.to_owned(), format!("//! A file.\n{code}\n"))])
}

#[test]
fn every_rule_can_be_broken() {
    let long = "// line\n".repeat(TOO_LONG);
    let seeded = [
        ("src/plan/a.rs", "use crate::remote::ssh::Session;", "src/plan/a.rs:2: plan may not use remote::ssh::Session"),
        ("src/plan/a.rs", "use crate::{error::Exit, remote::ssh};", "plan may not use remote::ssh"),
        ("src/plan/a.rs", "fn f() { crate::steps::apply() }", "plan may not use steps::apply"),
        ("src/plan/a.rs", "use super::super::engine::Lock;", "plan may not use engine::Lock"),
        ("src/plan/a.rs", "mod inner { use super::super::super::engine::Lock; }", "plan may not use engine::Lock"),
        ("src/plan/a.rs", "use crate::health::Finding;", "plan may not use health::Finding"),
        ("src/plan/a.rs", "use crate::observe::observe;", "plan may not use observe::observe"),
        ("src/observe/model.rs", "use crate::templates::Artifacts;", "observe may not use templates::Artifacts"),
        ("src/engine/a.rs", "use crate::context::Context;", "engine may not use context::Context"),
        ("src/nowhere/a.rs", "use crate::topology::Topology;", "`nowhere` has no layer"),
        ("src/plan/a.rs", "fn f() { std::fs::read(p) }", "`std::fs` in a pure module"),
        ("src/plan/a.rs", "fn f() { let t = std::time::Instant::now(); }", "`Instant::now` in a pure module"),
        ("src/health/a.rs", "async fn f() {}", "`async` in a pure module"),
        ("src/drill/checker/a.rs", "fn f() { std::fs::read(p) }", "`std::fs` in a pure module"),
        ("src/output/a.rs", "use crate::drill::workload::Workload;", "output may not use drill::workload::Workload"),
        ("src/steps/a.rs", "fn f() { let c = Consent::given(); }", "makes a consent"),
        ("src/steps/a.rs", "fn f() { x.unwrap(); }", "`unwrap()`"),
        ("src/steps/a.rs", "fn f() { println!(\"x\"); }", "`println!` outside of src/output"),
        ("src/steps/a.rs", long.as_str(), "src/steps/a.rs: 602 lines"),
    ];
    for (path, code, wanted) in seeded {
        let said = said(path, code);
        assert!(said.len() == 1 && said[0].contains(wanted), "{path}: {code:.80}\nwanted: {wanted}\nsaid: {said:?}");
    }
    let headless = rules(&[("src/steps/a.rs".to_owned(), "fn f() {}\n".to_owned())]);
    assert!(headless[0].contains("begins without"), "{headless:?}");
}

#[test]
fn what_is_allowed_is_not_reported() {
    let allowed = [
        ("src/plan/a.rs", "use crate::topology::{Topology, ids::{HostName, MemberName}};"),
        ("src/plan/a.rs", "use crate::observe::model::{Observed, Probe};\nuse crate::observe::Probe;"),
        ("src/plan/a.rs", "use super::action::Action;\nmod inner { use super::super::action::Action; }"),
        ("src/engine/a.rs", "use crate::context::Interrupt;"),
        ("src/output/a.rs", "use crate::drill::report::DrillReport;"),
        ("src/drill/recorder.rs", "use super::history::Record;\nfn f() { std::fs::read(p) }"),
        ("src/output/a.rs", "use crate::engine::event::Event;\nfn f() { eprintln!(\"x\"); }"),
        ("src/commands/a.rs", "use crate::cli::Cli;\nuse crate::context::Context;"),
        (
            "src/plan/a.rs",
            "// crate::remote, x.unwrap()\n/// crate::remote\nfn f() -> &'static str { \"crate::remote println!()\" }",
        ),
        ("src/plan/a.rs", "#[cfg(test)]\nmod tests { use crate::remote::ssh; fn f() { x.unwrap(); println!(); } }"),
        ("src/output/ui.rs", "fn f() -> Consent { Consent::given() }"),
        ("src/topology/resolve.rs", "fn f() { std::fs::read(p) }"),
    ];
    for (path, code) in allowed {
        assert_eq!(said(path, code), Vec::<String>::new(), "{path}: {code}");
    }
    // A module declared for tests alone, in a file of its own.
    let parent = ("src/health/mod.rs".to_owned(), "//! Checks.\n#[cfg(test)]\nmod fixture;\n".to_owned());
    let fixture = ("src/health/fixture.rs".to_owned(), "fn f() { x.unwrap(); }\n".to_owned());
    assert_eq!(rules(&[parent, fixture]), Vec::<String>::new());
}
