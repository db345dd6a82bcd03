//! How far the parts of a tokenizer can lengthen a text, and which of them the crate cannot apply.
//!
//! Invariant: a text of n bytes leaves the normalizer that passes with at most `GROWTH_MAX * n` bytes, and the
//! pre-tokenizer with a small multiple of that; no replacement matches nothing (the crate panics on the empty match).
//! Called by `tokenizer_check`.

use std::path::Path;

use serde_json::Value;

use super::error::ModelError;

/// Parts of a section, and pieces of a template (DeepSeek's pre-tokenizer has 7 parts).
pub(super) const PARTS_MAX: usize = 32;
/// Times that a normalizer can lengthen a text (Llama 2: `Prepend` 4, `Replace` 3, so 12).
const GROWTH_MAX: usize = 1024;
/// Pre-tokenizers that lengthen a text: a second one would lengthen what the first has added.
const ONCE: [&str; 2] = ["ByteLevel", "Metaspace"];

/// Checks the parts of one section.
pub(super) fn check_growth(file: &Path, section: &str, parts: &[&Value]) -> Result<(), ModelError> {
    if parts.len() > PARTS_MAX {
        let need = format!("at most {PARTS_MAX} parts");
        return Err(ModelError::damaged(file, section, need, parts.len()));
    }
    match section {
        "normalizer" => check_normalizer(file, section, parts),
        "pre_tokenizer" => check_pre_tokenizer(file, section, parts),
        _ => Ok(()),
    }
}

fn check_pre_tokenizer(file: &Path, section: &str, parts: &[&Value]) -> Result<(), ModelError> {
    for kind in ONCE {
        let count = parts.iter().filter(|part| part["type"] == kind).count();
        if count > 1 {
            return Err(ModelError::damaged(file, section, format!("at most one {kind}"), count));
        }
    }
    Ok(())
}

fn check_normalizer(file: &Path, section: &str, parts: &[&Value]) -> Result<(), ModelError> {
    let mut product = 1usize;
    for (i, part) in parts.iter().enumerate() {
        let times = growth(part).map_err(|(field, need)| {
            let have: String = part[field].to_string().chars().take(80).collect();
            ModelError::damaged(file, format!("{section}, part {i}, {field}"), need, have)
        })?;
        product = product.saturating_mul(times);
    }
    if product > GROWTH_MAX {
        let need = format!("parts that together make a text at most {GROWTH_MAX} times as long");
        return Err(ModelError::damaged(file, section, need, format!("up to {product} times")));
    }
    Ok(())
}

/// A field, and what it needs.
type Fault = (&'static str, &'static str);

/// Times that a part can lengthen a text, in bytes of UTF-8. What is no such part at all is left to the crate.
fn growth(part: &Value) -> Result<usize, Fault> {
    Ok(match part["type"].as_str() {
        // Before a text of at least one byte.
        Some("Prepend") => match part["prepend"].as_str() {
            Some("") => return Err(("prepend", "at least one character")),
            text => 1 + text.map_or(0, str::len),
        },
        Some("Replace") => {
            let shortest = shortest_match(&part["pattern"])?;
            part["content"].as_str().map_or(0, str::len).div_ceil(shortest).max(1)
        }
        // The longest expansions in UTF-8 that Unicode has.
        Some("NFC" | "NFD") => 3,
        Some("NFKC" | "NFKD") => 11,
        // 2 bytes of U+0130 become 3.
        Some("Lowercase") => 2,
        _ => 1,
    })
}

/// Bytes of the shortest match of a pattern, at least 1.
fn shortest_match(pattern: &Value) -> Result<usize, Fault> {
    let shortest = match (pattern["String"].as_str(), pattern["Regex"].as_str()) {
        (Some(text), _) => Some(text.len()),
        // The parser knows no look-around and no back-references, of which nobody knows what they match.
        (None, Some(regex)) => regex_syntax::parse(regex).ok().and_then(|parsed| parsed.properties().minimum_len()),
        (None, None) => return Ok(1),
    };
    let need = "a text, or a regular expression without look-around, of at least one character";
    shortest.filter(|&bytes| bytes > 0).ok_or(("pattern", need))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(section: &str, parts: &[Value]) -> Option<String> {
        let parts: Vec<&Value> = parts.iter().collect();
        check_growth(Path::new("tokenizer.json"), section, &parts).err().map(|e| e.to_string())
    }

    fn replace(pattern: Value, content: &str) -> Value {
        json!({"type": "Replace", "pattern": pattern, "content": content})
    }

    #[test]
    fn a_pattern_that_can_match_nothing_is_refused() {
        let regexes =
            ["", "x*", "^", "$", "a|", "(?:b?)*", r"\b", "(?=a)", "a(?<=a)", r"(a)\1", "(?m)^ *", "(", r"[a&&b]"];
        let empty = regexes.map(|regex| json!({"Regex": regex})).into_iter().chain([json!({"String": ""})]);
        for pattern in empty {
            let message = refusal("normalizer", &[replace(pattern.clone(), "y")]).unwrap_or_default();
            assert!(message.contains("normalizer, part 0, pattern: needs a text, or"), "{pattern}: {message}");
        }
        for pattern in [json!({"String": "^"}), json!({"Regex": " {2,}"}), json!({"Regex": r"\s+|^x"})] {
            assert_eq!(refusal("normalizer", &[replace(pattern, "y")]), None);
        }
        let message = refusal("normalizer", &[json!({"type": "Prepend", "prepend": ""})]).unwrap_or_default();
        assert!(message.contains("part 0, prepend: needs at least one character, found \"\""), "{message}");
    }

    #[test]
    fn parts_that_multiply_a_text_are_refused() {
        let double = replace(json!({"String": "a"}), "aa");
        assert_eq!(refusal("normalizer", &vec![double.clone(); 10]), None);
        let message = refusal("normalizer", &vec![double.clone(); 11]).unwrap_or_default();
        assert!(message.contains("at most 1024 times as long, found up to 2048 times"), "{message}");
        let message = refusal("normalizer", &vec![double; 45]).unwrap_or_default();
        assert!(message.contains("needs at most 32 parts, found 45"), "{message}");
        for kind in ONCE {
            let part = json!({"type": kind});
            assert_eq!(refusal("pre_tokenizer", &[part.clone(), json!({"type": "Digits"})]), None);
            let message = refusal("pre_tokenizer", &[part.clone(), part]).unwrap_or_default();
            assert!(message.contains(&format!("needs at most one {kind}, found 2")), "{message}");
        }
    }

    #[test]
    fn the_normalizers_of_known_models_pass() {
        let spaces = replace(json!({"String": " "}), "\u{2581}");
        let llama2 = vec![json!({"type": "Prepend", "prepend": "\u{2581}"}), spaces.clone()];
        let uncased =
            [json!({"type": "NFKC"}), json!({"type": "Lowercase"})].into_iter().chain(llama2.clone()).collect();
        for parts in [vec![], vec![json!({"type": "NFC"})], vec![spaces], llama2, uncased] {
            assert_eq!(refusal("normalizer", &parts), None);
        }
    }
}
