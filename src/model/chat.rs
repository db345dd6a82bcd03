//! A model's chat template: from messages to the text that it was trained to answer.
//!
//! Invariant: the text is what the template says and nothing else: no system message, no bos of our own.
//! Templates are written for Python's Jinja2 with trim_blocks and lstrip_blocks; string and dict methods work too.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use minijinja::machinery::{CompiledTemplate, TemplateConfig, eval, make_string_output};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, ErrorKind, context};
use serde::Serialize;
use serde_json::Value;

use super::chat_fuel::{check_blocks, install, metered};
use super::error::ModelError;

/// Work before a template counts as endless: an instruction, 64 bytes of text or a visit to a value costs one.
/// A long conversation takes some thousands.
const FUEL: u64 = 2_000_000;

/// Longest template; those of published models stay below 100 KB.
const SOURCE_BYTES_MAX: usize = 256 << 10;

/// Stack of the thread that compiles and renders. In a debug build the longest chain of `elif` that the source can
/// hold takes 128 MiB (5 KiB a link), and so do lists as deep as the fuel can nest them (half a KiB a link); in a
/// release build they take 32 and 16.
const STACK_BYTES: usize = 256 << 20;

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
        let bytes = self.source.len();
        if bytes > SOURCE_BYTES_MAX {
            return Err(self.wrong(format!("{bytes} bytes, at most {SOURCE_BYTES_MAX} are read")));
        }
        let context = context! {
            messages => messages.iter().map(Message::to_value).collect::<Vec<_>>(),
            add_generation_prompt => true,
            bos_token => self.bos.clone(),
            eos_token => self.eos.clone(),
        };
        thread::scope(|scope| {
            let engine = thread::Builder::new().stack_size(STACK_BYTES);
            let engine = engine.spawn_scoped(scope, || run(&self.source, context));
            let engine = engine.map_err(|e| self.wrong(format!("no thread to render it: {e}")))?;
            engine.join().unwrap_or_else(|panic| resume_unwind(panic)).map_err(|e| self.wrong(e))
        })
    }

    fn wrong(&self, problem: impl Display) -> ModelError {
        ModelError::Chat { file: self.file.clone(), problem: problem.to_string() }
    }
}

/// Compiles and renders a template; what it made is dropped here too, which takes as much stack.
fn run(source: &str, context: minijinja::Value) -> Result<String, minijinja::Error> {
    let syntax_config = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
    check_blocks(source, &syntax_config)?;
    let config = TemplateConfig { syntax_config, default_auto_escape: Arc::new(|_| AutoEscape::None) };
    let template = CompiledTemplate::new("<string>", source, &config)?;
    let instructions = metered(&template.instructions)?;
    let mut blocks = BTreeMap::new();
    for (name, block) in &template.blocks {
        blocks.insert(*name, metered(block)?);
    }
    let mut environment = Environment::new();
    environment.set_debug(false);
    environment.set_fuel(Some(FUEL));
    environment.add_function("raise_exception", |text: String| -> Result<(), minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, text))
    });
    install(&mut environment);
    let mut text = String::new();
    eval(&environment, &instructions, context, &blocks, &mut make_string_output(&mut text), AutoEscape::None)?;
    Ok(text)
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
            ("{% macro f(a, b='z') %}{% if a %}{{ a ~ b }}{% endif %}{% endmacro %}{{ f('y') }}{{ f(b=1) }}", "yz"),
            ("{% for x in [1, 2] recursive %}{{ x if x is number else loop(x) }}{% else %}e{% endfor %}", "12"),
            ("{{ ([1] + [2, 3])[1:] }}{{ (messages[1:] or ['n'])[0] }}{{ '=' * 3 }}", "[2, 3]n==="),
            ("{% set a = ['x', 'y'] %}{{ a | join(',') }}{{ '%s%s' | format(*a) }}{{ '{}'.format('z') }}", "x,yxyz"),
            ("{{ 'b' in 'abc' and 1 < 2 < 3 and 'q' not in ['r'] }}{% block b %}c{% endblock %}", "Truec"),
            ("{{ messages[0].role[0] * 2 }}{{ '%d-20260101, {}' | format(*[7][0:]) }}", "uu7-20260101, {}"),
            ("{{ 'in 20260101, {}'.format('x') }}", "in 20260101, x"),
            ("{{ {'a': [1]} | tojson(indent=1) }}", "{\n \"a\": [\n  1\n ]\n}"),
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
            ("{% set n = namespace() %}{% set n.x = n %}{{ n }}", "nested more than 64 deep"),
            ("{{ ['a'] * 100000000 }}", "both `[` and `*`"),
            ("{{ '{:.9999999999f}'.format(1.5) }}", "more than 4 digits"),
            ("{{ [1] | tojson(indent=1000000000) }}", "at most 16"),
            ("{% set b = 'a' * 1000000 %}{{ ('{0}' * 9999).format(b) }}", "fuel"),
        ];
        for (source, want) in cases {
            let message = render(source, &[]).map_err(|e| e.to_string()).unwrap_err();
            assert!(message.contains("t: chat template:") && message.contains(want), "{message}");
        }
    }

    #[test]
    fn what_doubles_sixty_times_runs_out_of_fuel_wherever_it_is_walked() {
        let start = "{% set n = namespace(x=[1], y=[1], s='ab') %}{% for i in range(60) %}";
        let pairs = "{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] %}{% endfor %}";
        let in_pairs = [
            "{{ n.x }}",
            "{{ n.x == n.y }}",
            "{{ n.x in [n.y] }}",
            "{{ n.x < n.y < n.x }}",
            "{{ n.x ~ '' }}",
            "{{ {1: 2}[n.x] }}",
            "{{ {n.x: 1} }}",
            "{{ n.x | tojson }}",
            "{{ [n.x] | map('string') | list }}",
            "{{ n.x is eq n.y }}",
            "{{ ''.join(n.x) }}",
            "{{ raise_exception(n.x) }}",
            "{% set f = dict %}{{ f(a=n.x) }}",
            "{% set l = [1] %}{% set a = [n.x] %}{{ l.count(*a) }}",
        ];
        let sums = [
            "{% set n.x = n.x + n.x %}{% endfor %}{{ n.x | list | length }}",
            "{% set n.x = n.x | chain(n.x) %}{% endfor %}{% set a, b = n.x %}",
            "{% set n.x = n.x * 9999 %}{% endfor %}",
            "{% set n.s = n.s ~ n.s %}{% endfor %}",
            "{% set n.s = n.s.replace('ab', 'abab') %}{% endfor %}",
        ];
        let all = in_pairs.iter().map(|end| format!("{start}{pairs}{end}"));
        for source in all.chain(sums.iter().map(|end| format!("{start}{end}"))) {
            let message = render(&source, &[]).map_err(|e| e.to_string()).unwrap_err();
            assert!(message.contains("fuel"), "{source}: {message}");
        }
    }

    #[test]
    fn no_chain_that_the_source_can_hold_overflows_the_stack() {
        let chains = [
            ("{{ ", "-", "1 }}"),
            ("{{ ", "not ", "1 }}"),
            ("{{ 1", "|abs", " }}"),
            ("{{ 1", " ~ 1", " }}"),
            ("{{ x", ".x", " }}"),
            ("{{ ", "1 if 1 else ", "1 }}"),
            ("{{ ", "(", "1 }}"),
            ("{% if 0 %}", "{%elif 0%}", "{% endif %}"),
        ];
        for (start, link, end) in chains {
            let links = (SOURCE_BYTES_MAX - start.len() - end.len()) / link.len();
            let got = render(&format!("{start}{}{end}", link.repeat(links)), &[]).map_err(|e| e.to_string());
            let whole = link.contains("elif");
            assert_eq!(got.is_ok(), whole, "{link}: {got:?}");
            assert!(whole || got.is_err_and(|e| e.contains("a block of more than 2048 words and signs")), "{link}");
        }
        let message = render(&" ".repeat(SOURCE_BYTES_MAX + 1), &[]).map_err(|e| e.to_string()).unwrap_err();
        assert!(message.contains("262145 bytes, at most 262144"), "{message}");
        let lists = "{% set n = namespace(x=[]) %}{% for i in range(99999) %}{% for j in range(99999) %}\
                     {% set n.x = [n.x] %}{% endfor %}{% endfor %}";
        assert!(render(lists, &[]).is_err_and(|e| e.to_string().contains("fuel")));
    }

    #[test]
    fn the_default_of_named_templates_counts() {
        let named = serde_json::json!({"chat_template": [
            {"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]});
        assert_eq!(from_tokenizer_config(&named), Some("b"));
        assert_eq!(from_tokenizer_config(&serde_json::json!({})), None);
    }
}
