//! Tokenizers from GGUF metadata: byte-level BPE (`gpt2`) and SentencePiece (`llama`).
//!
//! Invariant: tokens, types, scores and merges agree in length and refer to each other before a tokenizer is built.
//! Called by `checkpoint`. Pre-tokenizer patterns are those of the models' own published tokenizer.json files.

use std::collections::HashSet;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, PreTokenizerWrapper, SplitDelimiterBehavior};

use super::error::{ModelError, Reason, Reasons};
use super::gguf::Gguf;
use super::gguf_config::as_id;
use super::gguf_value::Value;
use super::guarded::guarded;
use super::spm::SentencePiece;
use super::text_stream::{Pieces, Spelling};
use super::tokenizer::{Begin, Engine, Tokenizer};
use super::tokenizer_check::check_merge;

const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";

const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// What a token is, in GGUF's numbering.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TokenType {
    /// 1 normal, 5 unused, 6 byte.
    Plain,
    /// 2 unknown, 3 control: recognised in text, never printed.
    Control,
    /// 4 user-defined: recognised in text, printed as it is.
    User,
}

/// How text is cut before merging.
enum Cut {
    SmolLm,
    Llama3,
    Qwen2,
    Gpt2,
}

/// Reads the tokenizer. None if a reason to refuse it was noted.
pub fn read(file: &Gguf, bos: Option<u32>, reasons: &mut Reasons) -> Result<Option<Tokenizer>, ModelError> {
    let key = "tokenizer.ggml.model";
    let model = file.need(key, file.text(key)?)?;
    match model {
        "gpt2" => guarded(&file.path, || merges(file, bos, reasons)),
        "llama" => scores(file, bos).map(Some),
        other => {
            reasons.push(Reason::new(key, other, "gpt2, llama"));
            Ok(None)
        }
    }
}

fn tokens<'a>(file: &Gguf<'a>) -> Result<(Vec<&'a str>, Vec<TokenType>), ModelError> {
    let text = |value: Value<'a>| match value {
        Value::Text(text) => Some(text),
        _ => None,
    };
    let tokens = file.need(TOKENS, file.list(TOKENS, "strings", text)?)?;
    let types = file.list(TYPES, "token types", |value| {
        as_id(value).map(|number| match number {
            2 | 3 => TokenType::Control,
            4 => TokenType::User,
            _ => TokenType::Plain,
        })
    })?;
    let types = types.unwrap_or_else(|| vec![TokenType::Plain; tokens.len()]);
    same_length(file, TYPES, types.len(), tokens.len())?;
    let mut seen = HashSet::new();
    if let Some(i) = tokens.iter().position(|token| !seen.insert(*token)) {
        let have = format!("{:?} twice", tokens[i].chars().take(40).collect::<String>());
        let place = format!("{TOKENS}[{i}]");
        return Err(ModelError::damaged(&file.path, place, "each token once", have));
    }
    Ok((tokens, types))
}

fn same_length(file: &Gguf, key: &str, have: usize, need: usize) -> Result<(), ModelError> {
    if have == need {
        return Ok(());
    }
    let need = format!("{need} elements, one for each token");
    Err(ModelError::damaged(&file.path, key, need, have))
}

fn begin(file: &Gguf, default: bool, bos: Option<u32>) -> Result<Begin, ModelError> {
    if !file.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(default) {
        return Ok(Begin::Without);
    }
    Ok(Begin::With(file.need("tokenizer.ggml.bos_token_id", bos)?))
}

fn pieces(spelling: Spelling, tokens: &[&str], types: &[TokenType]) -> Pieces {
    let listed = (0u32..).zip(tokens).zip(types);
    Pieces::new(
        spelling,
        listed.map(|((id, &text), &kind)| (id, text, kind != TokenType::Plain, kind == TokenType::Control)),
    )
}

fn cut(file: &Gguf, reasons: &mut Reasons) -> Result<Option<Cut>, ModelError> {
    let key = "tokenizer.ggml.pre";
    Ok(match file.text(key)?.unwrap_or("default") {
        "smollm" => Some(Cut::SmolLm),
        "llama-bpe" | "llama3" | "llama-v3" => Some(Cut::Llama3),
        "qwen2" => Some(Cut::Qwen2),
        "gpt-2" | "default" => Some(Cut::Gpt2),
        other => {
            let need = "smollm, llama-bpe, qwen2, gpt-2, default";
            reasons.push(Reason::new(key, other, need));
            None
        }
    })
}

fn merges(file: &Gguf, bos: Option<u32>, reasons: &mut Reasons) -> Result<Option<Tokenizer>, ModelError> {
    let (tokens, types) = tokens(file)?;
    let known: HashSet<&str> = tokens.iter().copied().collect();
    let text = |value| match value {
        Value::Text(text) => Some(text),
        _ => None,
    };
    let lines = file.need(MERGES, file.list(MERGES, "strings", text)?)?;
    let mut merges = Vec::with_capacity(lines.len());
    for (i, line) in lines.iter().enumerate() {
        let place = format!("{MERGES}[{i}]");
        merges.push(check_merge(&file.path, &place, line.split_once(' '), &known)?);
    }
    let Some(cut) = cut(file, reasons)? else {
        return Ok(None);
    };
    let is_llama3 = matches!(cut, Cut::Llama3);
    let failed = |e: tokenizers::Error| ModelError::damaged(&file.path, MERGES, "a valid BPE", e);
    let ids: Vocab = tokens.iter().map(|token| (*token).to_owned()).zip(0u32..).collect();
    let bpe = BPE::builder().vocab_and_merges(ids, merges).ignore_merges(is_llama3).build().map_err(failed)?;
    let mut inner = tokenizers::Tokenizer::new(bpe);
    if matches!(cut, Cut::Qwen2) {
        inner.with_normalizer(Some(NFC)).map_err(failed)?;
    }
    inner.with_pre_tokenizer(Some(pre_tokenizer(&cut).map_err(failed)?));
    inner.with_decoder(Some(ByteLevel::default()));
    let added = tokens.iter().zip(&types).filter(|(_, kind)| **kind != TokenType::Plain);
    inner
        .add_tokens(added.map(|(token, &kind)| AddedToken::from(*token, kind == TokenType::Control).normalized(false)))
        .map_err(failed)?;
    let name = file.text("tokenizer.ggml.pre")?.unwrap_or("default");
    Ok(Some(Tokenizer {
        file: file.path.clone(),
        engine: Engine::Merges(Box::new(inner)),
        pieces: pieces(Spelling::ByteLevel, &tokens, &types),
        begin: begin(file, is_llama3, bos)?,
        kind: format!("byte-level BPE (GGUF, pre-tokenizer {name})"),
        n_tokens: tokens.len(),
        vocab: usize::MAX,
        adds_space: false,
    }))
}

fn pre_tokenizer(cut: &Cut) -> Result<PreTokenizerWrapper, tokenizers::Error> {
    let bytes = |use_regex| PreTokenizerWrapper::from(ByteLevel::new(false, false, use_regex));
    let split = |pattern: &str| -> Result<PreTokenizerWrapper, tokenizers::Error> {
        let pattern = SplitPattern::Regex(pattern.to_owned());
        Ok(Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?.into())
    };
    let steps = match cut {
        Cut::SmolLm => vec![Digits::new(true).into(), bytes(true)],
        Cut::Llama3 => vec![split(LLAMA3)?, bytes(false)],
        Cut::Qwen2 => vec![split(QWEN2)?, bytes(false)],
        Cut::Gpt2 => vec![bytes(true)],
    };
    Ok(Sequence::new(steps).into())
}

fn scores(file: &Gguf, bos: Option<u32>) -> Result<Tokenizer, ModelError> {
    let (tokens, types) = tokens(file)?;
    let read = |value| match value {
        Value::Float(score) if !score.is_nan() => Some(score as f32),
        _ => None,
    };
    let scores = file.need(SCORES, file.list(SCORES, "numbers", read)?)?;
    same_length(file, SCORES, scores.len(), tokens.len())?;
    let unknown = file.token_id("tokenizer.ggml.unknown_token_id", tokens.len())?;
    let controls = (0u32..).zip(&types).filter(|(_, kind)| **kind != TokenType::Plain);
    let controls = controls.map(|(id, _)| id).collect();
    let adds_space = file.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let owned = tokens.iter().map(|token| (*token).to_owned()).collect();
    Ok(Tokenizer {
        file: file.path.clone(),
        engine: Engine::Scores(SentencePiece::new(owned, scores, controls, unknown, adds_space)),
        pieces: pieces(Spelling::SentencePiece, &tokens, &types),
        begin: begin(file, true, bos)?,
        kind: "SentencePiece (GGUF, scores)".to_owned(),
        n_tokens: tokens.len(),
        vocab: usize::MAX,
        adds_space,
    })
}
