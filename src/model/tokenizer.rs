//! Text to token ids and back.
//!
//! Invariant: control tokens written in a text are recognised before anything else; an id that the model's embedding
//! does not have is an error, not an index.
//! Built from `tokenizer.json` here, from GGUF metadata in `gguf_tokenizer`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::{ModelError, Reasons};
use super::guarded::guarded;
use super::spm::SentencePiece;
use super::text_stream::{Pieces, Spelling, TextStream};
use super::tokenizer_check::{check, check_normalized, check_spellings};

/// What turns text into ids.
pub(super) enum Engine {
    /// Byte-level or byte-fallback BPE with merges.
    Merges(Box<tokenizers::Tokenizer>),
    /// Pieces with scores.
    Scores(SentencePiece),
}

/// Whether a prompt begins with the bos token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// As the post-processor of `tokenizer.json` says.
    AsFile,
    /// Always with this id.
    With(u32),
    /// Never.
    Without,
}

/// The tokenizer of a model.
pub struct Tokenizer {
    pub(super) file: PathBuf,
    pub(super) engine: Engine,
    pub(super) pieces: Pieces,
    pub(super) begin: Begin,
    /// Kind, for reports.
    pub(super) kind: String,
    /// Tokens, added ones included.
    pub(super) n_tokens: usize,
    /// Ids that the embedding has; set when the model is assembled.
    pub(super) vocab: usize,
    /// A whole text begins with a space that is not part of it.
    pub(super) adds_space: bool,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("kind", &self.kind).field("n_tokens", &self.n_tokens).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Ids of a prompt, with bos where the model wants it. A text that begins with bos itself gets no second one.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let ids = self.ids(text, self.begin == Begin::AsFile)?;
        match self.begin {
            Begin::With(bos) if ids.first() != Some(&bos) => Ok(std::iter::once(bos).chain(ids).collect()),
            _ => Ok(ids),
        }
    }

    /// Ids of a rendered chat template, which holds every special token that it wants.
    pub fn encode_chat(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.ids(text, false)
    }

    fn ids(&self, text: &str, post_process: bool) -> Result<Vec<u32>, ModelError> {
        let wrong = |problem: String| ModelError::Tokenizer { file: self.file.clone(), problem };
        let ids = match &self.engine {
            Engine::Merges(inner) => guarded(&self.file, || {
                Ok(inner.encode_fast(text, post_process).map_err(|e| wrong(e.to_string()))?.get_ids().to_vec())
            })?,
            Engine::Scores(inner) => inner
                .encode(text)
                .map_err(|byte| wrong(format!("no token for byte {byte:#04x} and no unknown token")))?,
        };
        match ids.iter().find(|&&id| id as usize >= self.vocab) {
            None => Ok(ids),
            Some(id) => {
                let vocab = self.vocab;
                Err(wrong(format!("token id {id} is not among the model's {vocab} embeddings")))
            }
        }
    }

    /// The text of a whole run of tokens.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut stream = self.stream();
        let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
        text += &stream.finish();
        if self.adds_space && text.starts_with(' ') {
            text.remove(0);
        }
        text
    }

    /// The text of tokens as they come, as the continuation of a prompt.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream::new(&self.pieces)
    }

    /// How the vocabulary spells a token.
    pub fn token(&self, id: u32) -> Option<String> {
        match &self.engine {
            Engine::Merges(inner) => inner.id_to_token(id),
            Engine::Scores(inner) => inner.token(id).map(str::to_owned),
        }
    }

    /// The id of a token by its spelling.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        match &self.engine {
            Engine::Merges(inner) => inner.token_to_id(token),
            Engine::Scores(inner) => inner.id_of(token),
        }
    }

    /// Kind and size, for reports.
    pub fn describe(&self) -> String {
        format!("{}, {} tokens", self.kind, self.n_tokens)
    }
}

/// Reads `tokenizer.json`. None if a reason to refuse it was noted.
pub fn from_json(file: &Path, bytes: &[u8], reasons: &mut Reasons) -> Result<Option<Tokenizer>, ModelError> {
    let json: Value = super::hf_config::parse(file, bytes)?;
    let Some(spelling) = check(file, &json, reasons)? else {
        return Ok(None);
    };
    let inner = guarded(file, || {
        check_normalized(file, &json)?;
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|e| ModelError::damaged(file, "tokenizer", "a valid tokenizer", e))?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| ModelError::damaged(file, "truncation", "a valid tokenizer", e))?;
        Ok(inner)
    })?;
    let added = inner.get_added_tokens_decoder();
    let tokens = inner.get_vocab(true);
    // The crate chooses the ids of added tokens that the vocabulary lacks.
    check_spellings(file, tokens.iter().map(|(text, &id)| (u64::from(id), text.as_str())))?;
    let pieces = Pieces::new(
        spelling,
        tokens.iter().map(|(text, &id)| {
            let added = added.get(&id);
            (id, text.as_str(), added.is_some(), added.is_some_and(|token| token.special))
        }),
    );
    let kind = match spelling {
        Spelling::ByteLevel => "byte-level BPE (tokenizer.json)",
        Spelling::SentencePiece => "SentencePiece BPE (tokenizer.json)",
    };
    Ok(Some(Tokenizer {
        file: file.to_path_buf(),
        engine: Engine::Merges(Box::new(inner)),
        pieces,
        begin: Begin::AsFile,
        kind: kind.to_owned(),
        n_tokens: tokens.len(),
        vocab: usize::MAX,
        adds_space: spelling == Spelling::SentencePiece,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn added(id: u32, content: &str, normalized: bool) -> Value {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": normalized, "special": false})
    }

    /// A byte-level tokenizer of three tokens after an edit.
    fn read(edit: impl Fn(&mut Value)) -> Result<Tokenizer, String> {
        let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true});
        let mut json = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [added(2, "ab", false)],
            "normalizer": null, "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false, "byte_fallback": false,
                      "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
        });
        edit(&mut json);
        let (file, mut reasons) = (Path::new("tokenizer.json"), Reasons::default());
        let outcome = from_json(file, json.to_string().as_bytes(), &mut reasons);
        let settled = reasons.settle(file, outcome).map_err(|e| e.to_string())?;
        Ok(settled.expect("no reason to refuse it"))
    }

    fn refused(edit: impl Fn(&mut Value), words: &str) {
        let message = read(edit).expect_err(words);
        assert!(message.starts_with("tokenizer.json: ") && message.contains(words), "{message}");
    }

    #[test]
    fn merges_that_are_skipped_at_random_are_refused() {
        for dropout in [json!(0.5), json!(-1.0), json!("much")] {
            let words = format!("model.dropout is {dropout}, supported: null, 0");
            refused(|json| json["model"]["dropout"] = dropout.clone(), &words);
        }
        for dropout in [Value::Null, json!(0), json!(0.0)] {
            let tokenizer = read(|json| json["model"]["dropout"] = dropout.clone()).expect("a tokenizer");
            assert_eq!(tokenizer.encode("aab").expect("ids"), [0, 2]);
        }
    }

    #[test]
    fn an_id_has_one_spelling() {
        refused(|json| json["model"]["vocab"]["c"] = json!(1), "token id 1: needs one spelling, found \"b\" and \"c\"");
        refused(|json| json["added_tokens"][0] = added(1, "c", true), "token id 1: needs one spelling");
        let two = json!([added(3, "c", false), added(3, "d", false)]);
        refused(|json| json["added_tokens"] = two.clone(), "token id 3: needs one spelling, found \"c\" and \"d\"");
        // Without an id 3 in the file's list, the crate counts on from the three tokens that there are.
        let gap = |json: &mut Value| {
            json["model"]["vocab"] = json!({"a": 0, "b": 1, "ab": 3});
            json["added_tokens"] = json!([added(4, "c", false)]);
        };
        refused(gap, "token id 3: needs one spelling, found \"ab\" and \"c\"");
    }

    #[test]
    fn an_added_token_of_which_the_normalizer_leaves_nothing_is_refused() {
        let edit = |normalized: bool| {
            move |json: &mut Value| {
                json["normalizer"] = json!({"type": "StripAccents"});
                json["added_tokens"] = json!([added(3, "\u{301}", normalized)]);
            }
        };
        refused(edit(true), "added_tokens[0].content: needs a text of which the normalizer leaves something");
        assert!(read(edit(false)).is_ok());
    }

    #[test]
    fn parts_that_grow_or_panic_are_refused_in_their_sections() {
        let replace = json!({"type": "Replace", "pattern": {"String": ""}, "content": "x"});
        let sequence = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, replace]});
        refused(|json| json["normalizer"] = sequence.clone(), "normalizer, part 1, pattern: needs a text");
        let twice = |json: &mut Value| {
            let part = json["pre_tokenizer"].clone();
            json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [part, part]});
        };
        refused(twice, "pre_tokenizer: needs at most one ByteLevel, found 2");
        let a = json!({"Sequence": {"id": "A", "type_id": 0}});
        for single in [json!([]), json!([a, a])] {
            let template = json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": {}});
            refused(|json| json["post_processor"] = template.clone(), "post_processor.single: needs one sequence");
        }
    }
}
