//! Text to token ids and back.
//!
//! Invariant: control tokens written in a text are recognised before anything else; an id that the model's embedding
//! does not have is an error, not an index.
//! Built from `tokenizer.json` here, from GGUF metadata in `gguf_tokenizer`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::{ModelError, Reasons};
use super::spm::SentencePiece;
use super::text_stream::{Pieces, Spelling, TextStream};
use super::tokenizer_check::check;

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
            Engine::Merges(inner) => {
                inner.encode_fast(text, post_process).map_err(|e| wrong(e.to_string()))?.get_ids().to_vec()
            }
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
    let mut inner = tokenizers::Tokenizer::from_bytes(bytes)
        .map_err(|e| ModelError::damaged(file, "tokenizer", "a valid tokenizer", e))?;
    inner.with_padding(None);
    inner.with_truncation(None).map_err(|e| ModelError::damaged(file, "truncation", "a valid tokenizer", e))?;
    let added = inner.get_added_tokens_decoder();
    let tokens = inner.get_vocab(true);
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
