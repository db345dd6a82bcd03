//! A Hugging Face directory: config.json, generation_config.json, tokenizer.json, tokenizer_config.json,
//! chat_template.jinja and safetensors in one file or in shards.
//!
//! Invariant: a shard is a plain file name in the directory; every tensor comes from the shard that the index names.
//! Called by `checkpoint`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::chat::{ChatTemplate, from_tokenizer_config};
use super::checkpoint::{Model, Parts};
use super::error::{ModelError, Reason, Reasons};
use super::files::read_text;
use super::hf_config::{add_generation, parse, read};
use super::names::Naming;
use super::rope::RopePairing;
use super::safetensors;
use super::tensors::{Entry, SourceFile};
use super::tokenizer::{Begin, Tokenizer, from_json};
use crate::math::checkpoint::MatrixId;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A model whose files are part of the program (`include_bytes!`).
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedModel {
    /// Name for messages.
    pub name: &'static str,
    /// `config.json`.
    pub config: &'static [u8],
    /// `generation_config.json`.
    pub generation_config: Option<&'static [u8]>,
    /// `tokenizer.json`.
    pub tokenizer: &'static [u8],
    /// `model.safetensors`.
    pub weights: &'static [u8],
}

/// The text files of a model.
struct Texts {
    /// Directory for messages.
    root: PathBuf,
    files: BTreeMap<&'static str, Vec<u8>>,
}

type Weights = (Vec<SourceFile>, Vec<Entry>);

/// Files beside the weights that a model is read from, as far as they are there.
pub const TEXT_FILES: [&str; 5] =
    ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];

impl Texts {
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn need(&self, name: &'static str, what: &str) -> Result<&[u8], ModelError> {
        let bytes = self.files.get(name).map(Vec::as_slice);
        bytes.ok_or_else(|| ModelError::missing(&self.root, name, what))
    }

    fn json(&self, name: &'static str) -> Result<Option<Value>, ModelError> {
        self.files.get(name).map(|bytes| parse(&self.path(name), bytes)).transpose()
    }
}

/// Opens a directory; `weights` overrides the choice of the weight file.
pub fn open(root: &Path, weights: Option<&Path>, reasons: &mut Reasons) -> Result<Model, ModelError> {
    let mut files = BTreeMap::new();
    for name in TEXT_FILES {
        let path = root.join(name);
        match read_text(&path) {
            Ok(bytes) => {
                files.insert(name, bytes);
            }
            Err(ModelError::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    let texts = Texts { root: root.to_path_buf(), files };
    let weights = match weights {
        Some(file) => single(SourceFile::map(file), reasons),
        None => find_weights(root, reasons),
    };
    assemble(&texts, weights, reasons)
}

/// Opens a model that is part of the program.
pub fn open_embedded(model: &EmbeddedModel, reasons: &mut Reasons) -> Result<Model, ModelError> {
    let mut files =
        BTreeMap::from([("config.json", model.config.to_vec()), ("tokenizer.json", model.tokenizer.to_vec())]);
    if let Some(bytes) = model.generation_config {
        files.insert("generation_config.json", bytes.to_vec());
    }
    let texts = Texts { root: PathBuf::from(model.name), files };
    let name = format!("{}/{WEIGHTS}", model.name);
    let weights = single(Ok(SourceFile::embedded(&name, model.weights)), reasons);
    assemble(&texts, weights, reasons)
}

/// Reads on after the first unsupported thing, so that all of them are listed.
fn assemble(texts: &Texts, weights: Result<Weights, ModelError>, reasons: &mut Reasons) -> Result<Model, ModelError> {
    let config_path = texts.path("config.json");
    let has_output = weights.as_ref().is_ok_and(|(_, entries)| {
        entries.iter().any(|entry| entry.name == Naming::HuggingFace.matrix(MatrixId::Output))
    });
    let config = texts
        .need("config.json", "the configuration of a Hugging Face model")
        .and_then(|bytes| parse(&config_path, bytes))
        .and_then(|value| read(&config_path, &value, has_output, reasons));
    let tokenizer = texts
        .need("tokenizer.json", "the tokenizer")
        .and_then(|bytes| from_json(&texts.path("tokenizer.json"), bytes, reasons));
    let (mut config, tokenizer, (files, entries)) = (config?, tokenizer?, weights?);
    if let Some(value) = texts.json("generation_config.json")? {
        add_generation(&texts.path("generation_config.json"), &value, &mut config)?;
    }
    let mut tokenizer = tokenizer;
    let mut chat = None;
    if let Some(tokenizer) = &mut tokenizer {
        let value = texts.json("tokenizer_config.json")?.unwrap_or(Value::Null);
        let special = |name: &str| special_token(&value[name]);
        let id = |name: &str| special(name).and_then(|token| tokenizer.id_of(token));
        config.bos = id("bos_token").or(config.bos);
        config.add_eos(id("eos_token"));
        let spelled = |name: &str, id: Option<u32>| {
            let token = special(name).map(str::to_owned);
            token.or_else(|| tokenizer.token(id?)).unwrap_or_default()
        };
        let bos = spelled("bos_token", config.bos);
        let eos = spelled("eos_token", config.eos.first().copied());
        chat = template(texts, &value, bos, eos)?;
        set_begin(tokenizer, &value, config.bos);
    }
    Model::assemble(
        Parts {
            path: texts.root.clone(),
            config_path,
            container: "Hugging Face safetensors".to_owned(),
            naming: Naming::HuggingFace,
            pairing: RopePairing::Halves,
            config,
            tokenizer,
            chat,
            files,
            entries,
        },
        reasons,
    )
}

/// A special token as tokenizer_config.json spells it: a text, or an object that holds it.
fn special_token(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value["content"].as_str())
}

fn set_begin(tokenizer: &mut Tokenizer, value: &Value, bos: Option<u32>) {
    match (value["add_bos_token"].as_bool(), bos) {
        (Some(true), Some(bos)) => tokenizer.begin = Begin::With(bos),
        (Some(false), _) => tokenizer.begin = Begin::Without,
        _ => {}
    }
}

fn template(
    texts: &Texts,
    tokenizer_config: &Value,
    bos: String,
    eos: String,
) -> Result<Option<ChatTemplate>, ModelError> {
    let name = "chat_template.jinja";
    if let Some(bytes) = texts.files.get(name) {
        let path = texts.path(name);
        let source = std::str::from_utf8(bytes).map_err(|e| ModelError::damaged(&path, "text", "UTF-8", e))?;
        return Ok(Some(ChatTemplate::new(&path, source, bos, eos)));
    }
    let source = from_tokenizer_config(tokenizer_config);
    let path = texts.path("tokenizer_config.json");
    Ok(source.map(|source| ChatTemplate::new(&path, source, bos, eos)))
}

fn single(source: Result<SourceFile, ModelError>, reasons: &mut Reasons) -> Result<Weights, ModelError> {
    let source = source?;
    let entries = safetensors::read(0, &source, reasons)?;
    Ok((vec![source], entries))
}

fn find_weights(root: &Path, reasons: &mut Reasons) -> Result<Weights, ModelError> {
    if root.join(WEIGHTS).is_file() {
        return single(SourceFile::map(&root.join(WEIGHTS)), reasons);
    }
    let index = root.join(INDEX);
    if index.is_file() {
        return sharded(root, &index, reasons);
    }
    if root.join("pytorch_model.bin").is_file() {
        reasons.push(Reason::new("weight file", "pytorch_model.bin", "safetensors, GGUF"));
    }
    Err(ModelError::missing(root, format!("{WEIGHTS} or {INDEX}"), "the weights"))
}

fn sharded(root: &Path, index: &Path, reasons: &mut Reasons) -> Result<Weights, ModelError> {
    let bytes = read_text(index)?;
    let json = parse(index, &bytes)?;
    let map = json["weight_map"]
        .as_object()
        .ok_or_else(|| ModelError::missing(index, "weight_map", "an object: tensor -> shard"))?;
    let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, shard) in map {
        let place = || format!("weight_map entry {tensor}");
        let Some(name) = shard.as_str() else {
            return Err(ModelError::damaged(index, place(), "a file name", shard));
        };
        let is_plain = Path::new(name).file_name().is_some_and(|plain| plain == name);
        if !is_plain || name.contains(['/', '\\']) {
            return Err(ModelError::damaged(index, place(), "a file name without a path", name));
        }
        shards.entry(name).or_default().push(tensor);
    }
    let (mut files, mut entries) = (Vec::new(), Vec::new());
    for (name, tensors) in shards {
        let path = root.join(name);
        if !path.is_file() {
            let need = format!("the shard that holds tensor {}", tensors[0]);
            return Err(ModelError::missing(root, name, need));
        }
        let source = SourceFile::map(&path)?;
        let mut here: BTreeMap<String, Entry> = safetensors::read(files.len(), &source, reasons)?
            .into_iter()
            .map(|entry| (entry.name.clone(), entry))
            .collect();
        for tensor in tensors {
            match here.remove(tensor) {
                Some(entry) => entries.push(entry),
                // Its number format was refused above, or it is not there.
                None if !reasons.is_empty() => {}
                None => {
                    let need = format!("it in this shard, as {INDEX} says");
                    return Err(ModelError::missing(&path, format!("tensor {tensor}"), need));
                }
            }
        }
        files.push(source);
    }
    Ok((files, entries))
}
