//! A model's chat template: from messages to the text that it was trained to answer.
//!
//! Invariant: the text is what the template says and nothing else: no system message, no bos of our own.
//! Templates are written for Python's Jinja2 with trim_blocks and lstrip_blocks; string and dict methods work too.

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, context};
use serde::Serialize;
use serde_json::Value;

use super::error::ModelError;

/// Template instructions before a template counts as endless (a long conversation takes some thousands).
const FUEL: u64 = 20_000_000;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    fn to_value(&self) -> minijinja::Value {
        context! { role => self.role.clone(), content => self.content.clone() }
    }

    /// A message.
    pub fn new(role: &str, content: &str) -> Self {
        Self { role: role.to_owned(), content: content.to_owned() }
    }
}

/// A template with the special tokens that it may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplate {
    file: PathBuf,
    source: String,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// From its source; `bos` and `eos` as the vocabulary spells them, empty if there are none.
    pub fn new(file: &Path, source: &str, bos: String, eos: String) -> Self {
        Self { file: file.to_path_buf(), source: source.to_owned(), bos, eos }
    }

    /// The text of a conversation, ending where the assistant's answer begins.
    pub fn render(&self, messages: &[Message]) -> Result<String, ModelError> {
        let syntax =
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|e| self.wrong(&e))?;
        let mut environment = Environment::new();
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |text: String| -> Result<(), minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, text))
        });
        let template = environment.template_from_str(&self.source).map_err(|e| self.wrong(&e))?;
        template
            .render(context! {
                messages => messages.iter().map(Message::to_value).collect::<Vec<_>>(),
                add_generation_prompt => true,
                bos_token => self.bos.clone(),
                eos_token => self.eos.clone(),
            })
            .map_err(|e| self.wrong(&e))
    }

    fn wrong(&self, error: &minijinja::Error) -> ModelError {
        ModelError::Chat { file: self.file.clone(), problem: error.to_string() }
    }
}

/// `chat_template` of `tokenizer_config.json`: a text, or a list of named ones of which `default` counts.
pub fn from_tokenizer_config(config: &Value) -> Option<&str> {
    match &config["chat_template"] {
        Value::String(source) => Some(source),
        Value::Array(named) => named.iter().find(|entry| entry["name"] == "default")?["template"].as_str(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, messages: &[Message]) -> Result<String, ModelError> {
        ChatTemplate::new(Path::new("t"), source, "<s>".into(), "</s>".into()).render(messages)
    }

    #[test]
    fn templates_may_use_what_python_has() {
        let user = [Message::new("user", " hi ")];
        let cases = [
            ("{{ bos_token }}{{ messages[0]['content'].strip() }}{{ eos_token }}", "<s>hi</s>"),
            ("{% for k, v in messages[0].items() %}{{ k }};{% endfor %}", "role;content;"),
            ("{% for k in {'b': 1, 'a': 2} %}{{ k }}{% endfor %}", "ba"),
            ("{{ messages[0] | tojson }}", "{\"role\": \"user\", \"content\": \" hi \"}"),
            ("a\n  {% if add_generation_prompt %}\nb\n  {% endif %}\n", "a\nb\n"),
            ("{%- set ns = namespace(x=1) %}{%- set ns.x = 2 %}{{ ns.x }}", "2"),
            ("{% if tools is defined %}t{% endif %}{{ messages | length }}", "1"),
            ("{{ messages[0].role | tojson }}", "\"user\""),
            ("{% for m in messages %}{% break %}{% endfor %}x", "x"),
        ];
        for (source, want) in cases {
            let got = render(source, &user).map_err(|e| e.to_string());
            assert_eq!(got.as_deref(), Ok(want), "{source}");
        }
    }

    #[test]
    fn refusals_and_endless_templates_are_errors_with_the_reason() {
        let cases = [
            ("{{ raise_exception('no system role') }}", "no system role"),
            ("{% if %}", "syntax error"),
            ("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "fuel"),
        ];
        for (source, want) in cases {
            let message = render(source, &[]).map_err(|e| e.to_string()).unwrap_err();
            assert!(message.contains("t: chat template:") && message.contains(want), "{message}");
        }
    }

    #[test]
    fn the_default_of_named_templates_counts() {
        let named = serde_json::json!({"chat_template": [
            {"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]});
        assert_eq!(from_tokenizer_config(&named), Some("b"));
        assert_eq!(from_tokenizer_config(&serde_json::json!({})), None);
    }
}
