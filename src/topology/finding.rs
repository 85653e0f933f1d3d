//! What is wrong with a topology file, as data, and its two views: annotated source for people, JSON for programs.
//!
//! Made by the checks of this module's siblings; printed by commands. A finding never stops a check: all of them are collected.

use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

/// Whether a finding forbids going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The topology cannot be used.
    Error,
    /// It can be used, and the operator should know what it means.
    Warning,
}

/// One mistake or doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it forbids going on.
    pub severity: Severity,
    /// Stable name of the rule, in kebab-case, e.g. `duplicate-host`.
    pub rule: &'static str,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// Bytes of the file that are wrong, end exclusive; `None` when nothing that is written is at fault.
    pub span: Option<Range<usize>>,
    /// Remark at the span; may be empty.
    pub label: String,
    /// What to write instead; may be empty.
    pub help: String,
    /// Other places that play a part, e.g. the first of two duplicates, each with its remark.
    pub related: Vec<(Range<usize>, String)>,
}

impl Finding {
    /// A mistake that forbids going on.
    pub fn error(rule: &'static str, span: impl Into<Option<Range<usize>>>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            rule,
            message: message.into(),
            span: span.into(),
            label: String::new(),
            help: String::new(),
            related: Vec::new(),
        }
    }

    /// Something that the operator should know.
    pub fn warning(rule: &'static str, span: impl Into<Option<Range<usize>>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(rule, span, message) }
    }

    /// Sets the remark at the span.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Sets what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// Adds another place that plays a part.
    #[must_use]
    pub fn also(mut self, span: impl Into<Option<Range<usize>>>, label: impl Into<String>) -> Self {
        if let Some(span) = span.into() {
            self.related.push((span, label.into()));
        }
        self
    }

    /// Whether it forbids going on.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Sorts findings as a reader meets them: by place in the file, those without a place last; errors first at one place.
pub fn sort(findings: &mut [Finding]) {
    findings.sort_by_key(|f| (f.span.as_ref().map_or(usize::MAX, |s| s.start), f.severity, f.rule));
}

/// Findings as annotated source in the layout of rustc, ending with a newline. `path` is shown as given; colour only when asked for.
pub fn render(findings: &[Finding], text: &str, path: &Path, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let path = path.display().to_string();
    let mut out = String::new();
    for finding in findings {
        let level = match finding.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(&finding.message).id(finding.rule));
        group = match &finding.span {
            Some(span) => {
                let primary = AnnotationKind::Primary.span(clamp(span, text));
                let primary = if finding.label.is_empty() { primary } else { primary.label(&finding.label) };
                let others =
                    finding.related.iter().map(|(span, label)| AnnotationKind::Context.span(clamp(span, text)).label(label));
                group.element(Snippet::source(text).path(&path).annotation(primary).annotations(others))
            }
            None => group.element(Origin::path(&path)),
        };
        if !finding.help.is_empty() {
            group = group.element(Level::HELP.message(&finding.help));
        }
        out.push_str(&renderer.render(&[group]));
        out.push_str("\n\n");
    }
    out.push_str(&summary(findings));
    out.push('\n');
    out
}

/// `2 errors, 1 warning`; `no findings` when there are none.
pub fn summary(findings: &[Finding]) -> String {
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let say = |n: usize, word: &str| match n {
        0 => None,
        1 => Some(format!("1 {word}")),
        n => Some(format!("{n} {word}s")),
    };
    let parts: Vec<String> =
        [say(count(Severity::Error), "error"), say(count(Severity::Warning), "warning")].into_iter().flatten().collect();
    if parts.is_empty() { "no findings".to_owned() } else { parts.join(", ") }
}

/// A finding as JSON shows it, with lines and columns counted from 1 and columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FindingView {
    /// `error` or `warning`.
    pub severity: Severity,
    /// Stable name of the rule.
    pub rule: &'static str,
    /// What is wrong.
    pub message: String,
    /// Remark at the offending text; may be empty.
    pub label: String,
    /// What to write instead; may be empty.
    pub help: String,
    /// Line, from 1; 0 when nothing that is written is at fault.
    pub line: usize,
    /// Column in characters, from 1; 0 when nothing that is written is at fault.
    pub column: usize,
    /// The offending text.
    pub text: String,
}

/// Findings as JSON shows them.
pub fn views(findings: &[Finding], text: &str) -> Vec<FindingView> {
    let view = |f: &Finding| {
        let span = f.span.as_ref().map(|s| clamp(s, text));
        let (line, column) = span.as_ref().map_or((0, 0), |s| position(text, s.start));
        FindingView {
            severity: f.severity,
            rule: f.rule,
            message: f.message.clone(),
            label: f.label.clone(),
            help: f.help.clone(),
            line,
            column,
            text: span.map_or_else(String::new, |s| text[s].to_owned()),
        }
    };
    findings.iter().map(view).collect()
}

/// Line and column of a byte offset, both from 1, the column in characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The span cut to the text and to character boundaries: a parser's span may point past the end or into a character.
fn clamp(span: &Range<usize>, text: &str) -> Range<usize> {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}
