//! What the tokenizer crate takes on trust: it panics, or stumbles later, on a file that breaks these rules.
//!
//! Invariant: a file passes only with parts that are known not to panic or to lengthen a text without bound, with one
//! spelling of each id, with merges of tokens that are there, and with a template that names one sequence and special
//! tokens that are there. Called by `tokenizer` and `gguf_tokenizer`.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;
use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper};

use super::error::{ModelError, Reason, Reasons};
use super::growth::{PARTS_MAX, check_growth};
use super::text_stream::Spelling;

/// Section of the file, what its sequences call their list, and the parts that are supported there.
const SECTIONS: [(&str, &str, &[&str]); 3] = [
    ("normalizer", "normalizers", &["Prepend", "Replace", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents"]),
    (
        "pre_tokenizer",
        "pretokenizers",
        &["Split", "ByteLevel", "Digits", "Metaspace", "Punctuation", "WhitespaceSplit"],
    ),
    ("post_processor", "processors", &["ByteLevel", "TemplateProcessing"]),
];

/// Checks a file and finds how the vocabulary spells bytes. None if a reason to refuse it was noted.
pub(super) fn check(file: &Path, json: &Value, reasons: &mut Reasons) -> Result<Option<Spelling>, ModelError> {
    let model = &json["model"];
    let kind = model["type"].as_str().unwrap_or("BPE");
    if kind != "BPE" {
        reasons.push(Reason::new("tokenizer.json model.type", kind, "BPE"));
        return Ok(None);
    }
    for field in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if model[field].as_str().is_some_and(|text| !text.is_empty()) {
            let have = model[field].to_string();
            reasons.push(Reason::new(format!("tokenizer.json model.{field}"), have, "null"));
            return Ok(None);
        }
    }
    let dropout = &model["dropout"];
    if !dropout.is_null() && dropout.as_f64() != Some(0.0) {
        let have: String = dropout.to_string().chars().take(80).collect();
        reasons.push(Reason::new("tokenizer.json model.dropout", have, "null, 0"));
        return Ok(None);
    }
    let Some(vocab) = model["vocab"].as_object() else {
        return Err(ModelError::missing(file, "model.vocab", "an object of tokens"));
    };
    let added = json["added_tokens"].as_array().into_iter().flatten();
    let added = added.filter_map(|token| Some((token["id"].as_u64()?, token["content"].as_str()?)));
    let listed = vocab.iter().filter_map(|(text, id)| Some((id.as_u64()?, text.as_str())));
    check_spellings(file, listed.chain(added))?;
    let tokens: HashSet<&str> = vocab.keys().map(String::as_str).collect();
    for (i, merge) in model["merges"].as_array().into_iter().flatten().enumerate() {
        let pair = match merge {
            Value::String(line) => line.split_once(' '),
            pair => pair[0].as_str().zip(pair[1].as_str()),
        };
        check_merge(file, &format!("model.merges[{i}]"), pair, &tokens)?;
    }
    if !only_known_parts(json, reasons) {
        return Ok(None);
    }
    for (section, key, _) in SECTIONS {
        let mut parts = Vec::new();
        flatten(&json[section], key, &mut parts);
        check_growth(file, section, &parts)?;
    }
    check_template(file, json)?;
    let mut decoders = Vec::new();
    flatten(&json["decoder"], "decoders", &mut decoders);
    let has =
        |wanted: &[&str]| decoders.iter().any(|decoder| decoder["type"].as_str().is_some_and(|t| wanted.contains(&t)));
    if has(&["ByteLevel"]) {
        return Ok(Some(Spelling::ByteLevel));
    }
    if has(&["ByteFallback", "Metaspace"]) {
        return Ok(Some(Spelling::SentencePiece));
    }
    let have: String = json["decoder"].to_string().chars().take(80).collect();
    reasons.push(Reason::new("tokenizer.json decoder", have, "ByteLevel, ByteFallback, Metaspace"));
    Ok(None)
}

/// Parts nest in sequences; JSON depth is bounded by its parser.
fn flatten<'a>(part: &'a Value, key: &str, list: &mut Vec<&'a Value>) {
    match part[key].as_array().filter(|_| part["type"] == "Sequence") {
        Some(inner) => inner.iter().for_each(|part| flatten(part, key, list)),
        None if part.is_null() => {}
        None => list.push(part),
    }
}

fn only_known_parts(json: &Value, reasons: &mut Reasons) -> bool {
    let mut known = true;
    for (section, key, kinds) in SECTIONS {
        let mut parts = Vec::new();
        flatten(&json[section], key, &mut parts);
        for part in parts {
            let kind = part["type"].as_str().unwrap_or("(no type)");
            if !kinds.contains(&kind) {
                let have: String = kind.chars().take(40).collect();
                reasons.push(Reason::new(format!("tokenizer.json {section}"), have, kinds.join(", ")));
                known = false;
            }
        }
    }
    known
}

/// A template for one text: sequence A, and special tokens that it defines.
fn check_template(file: &Path, json: &Value) -> Result<(), ModelError> {
    let (section, key, _) = SECTIONS[2];
    let mut parts = Vec::new();
    flatten(&json[section], key, &mut parts);
    let damaged = |place: String, need: &str, have: &Value| {
        let have: String = have.to_string().chars().take(80).collect();
        Err(ModelError::damaged(file, place, need, have))
    };
    let mut templates = parts.into_iter().filter(|part| part["type"] == "TemplateProcessing");
    let Some(template) = templates.next() else { return Ok(()) };
    if let Some(second) = templates.next() {
        return damaged(section.to_owned(), "one TemplateProcessing", second);
    }
    let Some(single) = template["single"].as_array() else {
        return damaged(format!("{section}.single"), "a list", &template["single"]);
    };
    let sequences = single.iter().filter(|piece| !piece["Sequence"].is_null()).count();
    if sequences != 1 || single.len() > PARTS_MAX {
        let need = format!("one sequence among at most {PARTS_MAX} pieces");
        let have = format!("{sequences} among {}", single.len());
        return Err(ModelError::damaged(file, format!("{section}.single"), need, have));
    }
    for (i, piece) in single.iter().enumerate() {
        let special = piece["SpecialToken"]["id"].as_str();
        let is_defined = special.is_some_and(|id| template["special_tokens"].get(id).is_some());
        if !is_defined && piece["Sequence"]["id"] != "A" {
            let need = "sequence A, or a special token that special_tokens defines";
            return damaged(format!("{section}.single[{i}]"), need, piece);
        }
    }
    Ok(())
}

/// No id is spelled in two ways: which of them a text would get is not said.
pub(super) fn check_spellings<'a>(file: &Path, tokens: impl Iterator<Item = (u64, &'a str)>) -> Result<(), ModelError> {
    let mut tokens: Vec<(u64, &str)> = tokens.collect();
    tokens.sort_unstable();
    tokens.dedup();
    match tokens.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        None => Ok(()),
        Some(pair) => {
            let [one, other] = [pair[0].1, pair[1].1].map(|text| text.chars().take(40).collect::<String>());
            let (place, have) = (format!("token id {}", pair[0].0), format!("{one:?} and {other:?}"));
            Err(ModelError::damaged(file, place, "one spelling", have))
        }
    }
}

/// The crate finds added tokens that are normalized in the normalized text: there must be something to find.
pub(super) fn check_normalized(file: &Path, json: &Value) -> Result<(), ModelError> {
    let failed = |e: &dyn std::fmt::Display| ModelError::damaged(file, "normalizer", "a valid normalizer", e);
    let normalizer: Option<NormalizerWrapper> =
        serde_json::from_value(json["normalizer"].clone()).map_err(|e| failed(&e))?;
    let Some(normalizer) = normalizer else { return Ok(()) };
    for (i, token) in json["added_tokens"].as_array().into_iter().flatten().enumerate() {
        let Some(content) = token["content"].as_str().filter(|_| token["normalized"] == true) else {
            continue;
        };
        let mut normalized = NormalizedString::from(content);
        normalizer.normalize(&mut normalized).map_err(|e| failed(&e))?;
        if normalized.is_empty() && !content.is_empty() {
            let need = "a text of which the normalizer leaves something";
            let have: String = content.chars().take(40).collect();
            return Err(ModelError::damaged(file, format!("added_tokens[{i}].content"), need, format!("{have:?}")));
        }
    }
    Ok(())
}

/// Both parts of a merge and their concatenation are tokens.
pub(super) fn check_merge(
    file: &Path,
    place: &str,
    pair: Option<(&str, &str)>,
    tokens: &HashSet<&str>,
) -> Result<(String, String), ModelError> {
    let Some((left, right)) = pair else {
        return Err(ModelError::damaged(file, place, "two tokens", "something else"));
    };
    for token in [left, right, &format!("{left}{right}")] {
        if !tokens.contains(token) {
            let need = "tokens of the vocabulary";
            let have: String = token.chars().take(40).collect();
            return Err(ModelError::damaged(file, place, need, format!("{have:?}")));
        }
    }
    Ok((left.to_owned(), right.to_owned()))
}
