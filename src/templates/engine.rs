//! The template engine with all templates embedded. Used by the view modules next to it; knows nothing of topologies.

use std::sync::LazyLock;

use serde::Serialize;
use tera::{Context, Kwargs, State, Tera};

use super::RenderError;

macro_rules! embedded {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../templates/", $name)))),+]
    };
}

static ENGINE: LazyLock<Tera> = LazyLock::new(|| {
    let mut tera = Tera::new();
    tera.register_filter("quote", quote);
    tera.register_filter("compose", compose);
    let templates = embedded![
        "haproxy.cfg.tera",
        "keepalived.conf.tera",
        "patroni.yml.tera",
        "pgbouncer.ini.tera",
        "stack.yml.tera",
        "stack/deploy.yml.tera",
        "stack/etcd.yml.tera",
        "stack/files.yml.tera",
        "stack/haproxy.yml.tera",
        "stack/guard.yml.tera",
        "stack/keepalived.yml.tera",
        "stack/member.yml.tera",
        "stack/networks.yml.tera",
        "stack/pgbouncer.yml.tera",
    ];
    // Without its last newline a partial can be included on a line of its own.
    tera.add_raw_templates(templates.map(|(name, text)| (name, text.trim_end())))
        .expect("the embedded templates parse: every test that renders shows it");
    tera
});

/// Renders a template with its view; the result ends with exactly one newline.
pub(super) fn render<V: Serialize>(template: &'static str, view: &V) -> Result<String, RenderError> {
    let text = Context::from_serialize(view)
        .and_then(|context| ENGINE.render(template, &context))
        .map_err(|source| RenderError::Template { template, source })?;
    Ok(format!("{}\n", text.trim_end()))
}

/// A text as a value of a Compose file, where `$NAME` is replaced and `$$` stands for a dollar; double-quoted.
fn compose(text: &str, kwargs: Kwargs, state: &State) -> String {
    escape_dollars(&quote(text, kwargs, state))
}

/// Doubles the dollars of a text that Compose will read.
pub(super) fn escape_dollars(text: &str) -> String {
    text.replace('$', "$$")
}

/// A text as a double-quoted YAML scalar: JSON strings are that, too.
fn quote(text: &str, _: Kwargs, _: &State) -> String {
    serde_json::Value::from(text).to_string()
}
