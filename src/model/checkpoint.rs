//! A model opened from disk: configuration, tokenizer, chat template and weights behind the `Checkpoint` trait.
//!
//! Invariant: after `open`, every tensor that the shape implies is in the table with the right dimensions and holds
//! only finite values that fit f16 (or bf16 as they are); nothing in the file is left unused without being refused.
//! Called by `app`, `host` and `oracle` through the trait.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::chat::{ChatTemplate, Message};
use super::config::ModelConfig;
use super::dequant::Element;
use super::error::{ModelError, Reason, Reasons};
use super::gguf::Gguf;
use super::huggingface::{self, EmbeddedModel};
use super::names::{Naming, TensorId, tensors};
use super::rope::RopePairing;
use super::summary::{FormatCount, ModelSummary};
use super::tensors::{Entry, SourceFile, scan_all};
use super::tokenizer::Tokenizer;
use super::{gguf_config, gguf_tokenizer};
use crate::math::checkpoint::{Checkpoint, Matrix, MatrixId, ModelShape, VectorId};

/// An opened model.
#[derive(Debug)]
pub struct Model {
    path: PathBuf,
    container: String,
    /// What its configuration says.
    pub config: ModelConfig,
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    chat: Option<ChatTemplate>,
    files: Vec<SourceFile>,
    matrices: HashMap<MatrixId, Entry>,
    vectors: HashMap<VectorId, Entry>,
    pairing: RopePairing,
}

/// What a format's reader found.
pub(super) struct Parts {
    pub path: PathBuf,
    pub config_path: PathBuf,
    pub container: String,
    pub naming: Naming,
    pub pairing: RopePairing,
    pub config: ModelConfig,
    pub tokenizer: Option<Tokenizer>,
    pub chat: Option<ChatTemplate>,
    pub files: Vec<SourceFile>,
    pub entries: Vec<Entry>,
}

/// Unused tensors that are named one by one before they are only counted.
const UNUSED_NAMED: usize = 8;

impl Model {
    /// Opens a Hugging Face directory, a directory with one `.gguf`, a `.gguf` file, or a `.safetensors` file that
    /// has its config.json and tokenizer.json beside it. Checks everything; reads every weight once.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let mut reasons = Reasons::default();
        let outcome = Self::open_any(path, &mut reasons);
        reasons.settle(path, outcome)
    }

    /// Opens a GGUF file that is mapped or in memory.
    pub fn open_gguf(file: SourceFile) -> Result<Self, ModelError> {
        let (mut reasons, path) = (Reasons::default(), file.path.clone());
        let outcome = read_gguf(file, &mut reasons);
        reasons.settle(&path, outcome)
    }

    /// Opens a model whose files are part of the program.
    pub fn open_embedded(model: &EmbeddedModel) -> Result<Self, ModelError> {
        let mut reasons = Reasons::default();
        let outcome = huggingface::open_embedded(model, &mut reasons);
        reasons.settle(Path::new(model.name), outcome)
    }

    fn open_any(path: &Path, reasons: &mut Reasons) -> Result<Self, ModelError> {
        let kind = std::fs::metadata(path).map_err(|e| ModelError::io(path, e))?;
        let has_extension = |path: &Path, wanted: &str| {
            path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
        };
        if kind.is_dir() {
            if path.join("config.json").is_file() {
                return huggingface::open(path, None, reasons);
            }
            let listing = std::fs::read_dir(path).map_err(|e| ModelError::io(path, e))?;
            let mut found: Vec<PathBuf> = listing
                .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                .filter(|path| has_extension(path, "gguf"))
                .collect();
            found.sort_unstable();
            return match found.as_slice() {
                [file] => SourceFile::map(file).and_then(|file| read_gguf(file, reasons)),
                [] => huggingface::open(path, None, reasons),
                several => {
                    let have = format!("{} of them; name one", several.len());
                    Err(ModelError::damaged(path, "directory", "one .gguf file", have))
                }
            };
        }
        if has_extension(path, "gguf") {
            return read_gguf(SourceFile::map(path)?, reasons);
        }
        if has_extension(path, "safetensors") {
            let root = path.parent().filter(|root| !root.as_os_str().is_empty());
            return huggingface::open(root.unwrap_or(Path::new(".")), Some(path), reasons);
        }
        let need = "a model directory, a .gguf or a .safetensors file";
        Err(ModelError::damaged(path, "path", need, "a file of another kind"))
    }

    pub(super) fn assemble(parts: Parts, reasons: &mut Reasons) -> Result<Self, ModelError> {
        let Parts { config, naming, files, .. } = parts;
        let (matrices, vectors) = resolve(&config.shape, naming, &files, parts.entries, &parts.path, reasons)?;
        let vocab = config.shape.vocab;
        for id in config.bos.iter().chain(&config.eos) {
            if *id as usize >= vocab {
                let (place, need) = ("bos or eos token id", format!("below {vocab}"));
                return Err(ModelError::damaged(&parts.config_path, place, need, id));
            }
        }
        let missing = || ModelError::missing(&parts.path, "tokenizer", "one that is supported");
        let mut tokenizer = parts.tokenizer.ok_or_else(missing)?;
        tokenizer.vocab = vocab;
        if reasons.is_empty() {
            let mut list: Vec<(&Entry, bool)> = matrices.values().map(|e| (e, true)).collect();
            list.extend(vectors.values().map(|e| (e, false)));
            list.sort_by_key(|(entry, _)| (entry.file, entry.range.start));
            scan_all(&files, &list)?;
        }
        Ok(Self {
            path: parts.path,
            container: parts.container,
            config,
            tokenizer,
            chat: parts.chat,
            files,
            matrices,
            vectors,
            pairing: parts.pairing,
        })
    }

    /// The text of a conversation in the model's own format.
    pub fn chat(&self, messages: &[Message]) -> Result<String, ModelError> {
        match &self.chat {
            Some(template) => template.render(messages),
            None => Err(ModelError::Chat {
                file: self.path.clone(),
                problem: "the model has none; it completes text, use it without --chat".to_owned(),
            }),
        }
    }

    /// Numbers for `plummer inspect`.
    pub fn summary(&self) -> ModelSummary {
        let all = || self.matrices.values().chain(self.vectors.values());
        let mut formats: BTreeMap<Element, FormatCount> = BTreeMap::new();
        for entry in all() {
            let empty = FormatCount { format: entry.element.name(), tensors: 0, bytes: 0 };
            let count = formats.entry(entry.element).or_insert(empty);
            count.tensors += 1;
            count.bytes += entry.range.len() as u64;
        }
        let elements = |entry: &Entry| entry.elements() as u64;
        ModelSummary {
            path: self.path.clone(),
            container: self.container.clone(),
            config: self.config.clone(),
            parameters: all().map(elements).sum(),
            formats: formats.into_values().collect(),
            file_bytes: self.files.iter().map(|file| file.bytes().len() as u64).sum(),
            matrix_bytes: 2 * self.matrices.values().map(elements).sum::<u64>(),
            tokenizer: self.tokenizer.describe(),
            has_chat_template: self.chat.is_some(),
        }
    }
}

type Tables = (HashMap<MatrixId, Entry>, HashMap<VectorId, Entry>);

/// Finds every tensor of the model and refuses what is left over.
fn resolve(
    shape: &ModelShape,
    naming: Naming,
    files: &[SourceFile],
    entries: Vec<Entry>,
    path: &Path,
    reasons: &mut Reasons,
) -> Result<Tables, ModelError> {
    let mut by_name: BTreeMap<String, Entry> = BTreeMap::new();
    for entry in entries {
        let file = files[entry.file].path.clone();
        if let Some(twice) = by_name.insert(entry.name.clone(), entry) {
            let place = format!("tensor {}", twice.name);
            return Err(ModelError::damaged(&file, place, "each tensor once", "it twice"));
        }
    }
    let (mut matrices, mut vectors) = (HashMap::new(), HashMap::new());
    let mut missing = None;
    for (id, dims) in tensors(shape) {
        let name = naming.tensor(id);
        let Some(entry) = by_name.remove(&name) else {
            missing = missing.or(Some((name, dims)));
            break;
        };
        if entry.dims != dims {
            let file = files[entry.file].path.as_path();
            let place = format!("shape of tensor {name}");
            return Err(ModelError::damaged(file, place, format!("{dims:?}"), format!("{:?}", entry.dims)));
        }
        match id {
            TensorId::Matrix(id) => drop(matrices.insert(id, entry)),
            TensorId::Vector(id) => drop(vectors.insert(id, entry)),
        }
    }
    if let Some((name, dims)) = missing {
        let file = files.first().filter(|_| files.len() == 1).map_or(path, |file| &file.path);
        return Err(ModelError::missing(file, format!("tensor {name}"), format!("shape {dims:?}")));
    }
    let unused: Vec<&String> = by_name.keys().filter(|name| !naming.is_redundant(name, shape)).collect();
    for name in unused.iter().take(UNUSED_NAMED) {
        let have = "not part of the architecture as configured";
        reasons.push(Reason::new(format!("tensor {name}"), have, "tensors of the architecture"));
    }
    if unused.len() > UNUSED_NAMED {
        let have = format!("{} more unused tensors", unused.len() - UNUSED_NAMED);
        reasons.push(Reason::new("the file", have, "tensors of the architecture"));
    }
    Ok((matrices, vectors))
}

/// Reads on after the first unsupported thing, so that all of them are listed.
fn read_gguf(file: SourceFile, reasons: &mut Reasons) -> Result<Model, ModelError> {
    let (path, files) = (file.path.clone(), vec![file]);
    let gguf = Gguf::parse(&files[0], reasons)?;
    let entries = gguf.entries(0, reasons);
    let divisors = entries.as_ref().ok().and_then(|entries| {
        let entry = entries.iter().find(|entry| entry.name == gguf_config::ROPE_FREQS)?;
        Some(entry.floats(&files))
    });
    let n_divisors = divisors.as_ref().map(Vec::len);
    let config = gguf_config::read(&gguf, divisors, reasons);
    let bos = config.as_ref().ok().and_then(|config| config.bos);
    let tokenizer = gguf_tokenizer::read(&gguf, bos, reasons);
    let (config, tokenizer, entries) = (config?, tokenizer?, entries?);
    let pairs = config.shape.inv_freq.len();
    if let Some(have) = n_divisors.filter(|&n| n != pairs) {
        let place = format!("shape of tensor {}", gguf_config::ROPE_FREQS);
        return Err(ModelError::damaged(&path, place, format!("[{pairs}]"), format!("[{have}]")));
    }
    let chat = gguf.text("tokenizer.chat_template")?.zip(tokenizer.as_ref()).map(|(source, tokenizer)| {
        let spelled = |id: Option<u32>| id.and_then(|id| tokenizer.token(id)).unwrap_or_default();
        let eos = gguf.whole("tokenizer.ggml.eos_token_id").ok().flatten();
        let eos = eos.and_then(|id| u32::try_from(id).ok());
        ChatTemplate::new(&path, source, spelled(config.bos), spelled(eos))
    });
    let container = format!("GGUF v{}", gguf.version);
    drop(gguf);
    let parts = Parts {
        path: path.clone(),
        config_path: path,
        container,
        naming: Naming::Gguf,
        pairing: gguf_config::pairing(config.architecture),
        config,
        tokenizer,
        chat,
        files,
        entries,
    };
    Model::assemble(parts, reasons)
}

impl Checkpoint for Model {
    fn shape(&self) -> &ModelShape {
        &self.config.shape
    }

    fn matrix(&self, id: MatrixId) -> Matrix<'_> {
        let shape = &self.config.shape;
        let stored = if id == MatrixId::Output && shape.tied { MatrixId::Embedding } else { id };
        let entry = &self.matrices[&stored];
        let (rows, cols) = (entry.dims[0], entry.dims[1]);
        let (format, mut bits) = entry.halves(&self.files);
        let is_rotated = matches!(id, MatrixId::Q(_) | MatrixId::K(_));
        if is_rotated && self.pairing != RopePairing::Halves {
            bits = Cow::Owned(reorder(&bits, rows, cols, shape.head_dim, self.pairing));
        }
        Matrix { rows, cols, format, bits }
    }

    fn vector(&self, id: VectorId) -> Cow<'_, [f32]> {
        Cow::Owned(self.vectors[&id].floats(&self.files))
    }
}

/// Rows of Q or K in `Halves` order.
fn reorder(bits: &[u16], rows: usize, cols: usize, head_dim: usize, pairing: RopePairing) -> Vec<u16> {
    let mut ordered = Vec::with_capacity(bits.len());
    for row in 0..rows {
        let head_start = row / head_dim * head_dim;
        let from = head_start + pairing.row_in_file(row % head_dim, head_dim);
        ordered.extend_from_slice(&bits[from * cols..(from + 1) * cols]);
    }
    ordered
}
