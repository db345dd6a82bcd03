//! SentencePiece-style tokenizer with scores: the best-scoring pair of neighbours merges first.
//!
//! Invariant: every merge makes a token of the vocabulary, ties go to the leftmost pair, and what no token covers is
//! spelled in byte tokens. (The algorithm of llama.cpp's `llama` vocabulary, so both give the same ids.)
//! Called by `tokenizer`; built by `gguf_tokenizer`.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

/// Pieces with scores.
#[derive(Debug)]
pub struct SentencePiece {
    tokens: Vec<String>,
    scores: Vec<f32>,
    ids: HashMap<String, u32>,
    /// Tokens matched before anything else, longest first.
    controls: Vec<u32>,
    unknown: Option<u32>,
    /// Text after the start or after a control token begins with a space.
    adds_space: bool,
}

/// A merge that could be made; `size` tells whether its parts have changed since.
#[derive(PartialEq)]
struct Candidate {
    score: f32,
    left: usize,
    right: usize,
    size: usize,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A run of bytes of the text, linked to its neighbours; merged-away ones are empty.
struct Symbol {
    start: usize,
    length: usize,
    before: Option<usize>,
    after: Option<usize>,
}

enum Fragment<'a> {
    Text(&'a str),
    Control(u32),
}

impl SentencePiece {
    /// `scores` has one value a token; `controls` are ids of tokens.
    pub fn new(
        tokens: Vec<String>,
        scores: Vec<f32>,
        mut controls: Vec<u32>,
        unknown: Option<u32>,
        adds_space: bool,
    ) -> Self {
        let ids = (0u32..).zip(&tokens).map(|(id, token)| (token.clone(), id)).collect();
        controls.retain(|&id| tokens.get(id as usize).is_some_and(|token| !token.is_empty()));
        controls.sort_by_key(|&id| std::cmp::Reverse(tokens[id as usize].len()));
        Self { tokens, scores, ids, controls, unknown, adds_space }
    }

    /// Spelling of a token.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize).map(String::as_str)
    }

    /// Id of a spelling.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// Ids of a text, or the byte that has no token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, u8> {
        let mut ids = Vec::new();
        let mut begins = true;
        for fragment in self.fragments(text) {
            match fragment {
                Fragment::Control(id) => {
                    ids.push(id);
                    begins = true;
                }
                Fragment::Text(text) => {
                    let space = if begins && self.adds_space { "\u{2581}" } else { "" };
                    self.merge(&format!("{space}{}", text.replace(' ', "\u{2581}")), &mut ids)?;
                    begins = false;
                }
            }
        }
        Ok(ids)
    }

    fn fragments<'a>(&self, text: &'a str) -> Vec<Fragment<'a>> {
        let mut fragments = vec![Fragment::Text(text)];
        for &id in &self.controls {
            let token = self.tokens[id as usize].as_str();
            if !text.contains(token) {
                continue;
            }
            let mut split = Vec::new();
            for fragment in fragments {
                match fragment {
                    Fragment::Control(_) => split.push(fragment),
                    Fragment::Text(text) => {
                        for (i, part) in text.split(token).enumerate() {
                            if i > 0 {
                                split.push(Fragment::Control(id));
                            }
                            split.push(Fragment::Text(part));
                        }
                    }
                }
            }
            fragments = split;
        }
        fragments.retain(|fragment| !matches!(fragment, Fragment::Text("")));
        fragments
    }

    fn merge(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), u8> {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(i, (start, character))| Symbol {
                start,
                length: character.len_utf8(),
                before: i.checked_sub(1),
                after: Some(i + 1),
            })
            .collect();
        if let Some(last) = symbols.last_mut() {
            last.after = None;
        }
        let mut heap = BinaryHeap::new();
        for right in 1..symbols.len() {
            heap.extend(self.candidate(text, &symbols, right - 1, right));
        }
        while let Some(best) = heap.pop() {
            let (left, right) = (&symbols[best.left], &symbols[best.right]);
            if left.length == 0 || right.length == 0 || left.length + right.length != best.size {
                continue;
            }
            let after = right.after;
            symbols[best.right].length = 0;
            symbols[best.left].length = best.size;
            symbols[best.left].after = after;
            if let Some(after) = after {
                symbols[after].before = Some(best.left);
                heap.extend(self.candidate(text, &symbols, best.left, after));
            }
            if let Some(before) = symbols[best.left].before {
                heap.extend(self.candidate(text, &symbols, before, best.left));
            }
        }
        for symbol in symbols.iter().filter(|symbol| symbol.length > 0) {
            self.spell(&text[symbol.start..symbol.start + symbol.length], ids)?;
        }
        Ok(())
    }

    fn candidate(&self, text: &str, symbols: &[Symbol], left: usize, right: usize) -> Option<Candidate> {
        let size = symbols[left].length + symbols[right].length;
        let start = symbols[left].start;
        let id = self.id_of(&text[start..start + size])?;
        Some(Candidate { score: self.scores[id as usize], left, right, size })
    }

    fn spell(&self, piece: &str, ids: &mut Vec<u32>) -> Result<(), u8> {
        if let Some(id) = self.id_of(piece) {
            ids.push(id);
            return Ok(());
        }
        for byte in piece.bytes() {
            let id = self.id_of(&format!("<0x{byte:02X}>")).or(self.unknown);
            ids.push(id.ok_or(byte)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(adds_space: bool) -> SentencePiece {
        let pieces: [(&str, f32); 11] = [
            ("<unk>", 0.0),
            ("<s>", 0.0),
            ("<0xC3>", 0.0),
            ("<0xA9>", 0.0),
            ("\u{2581}", -9.0),
            ("a", -8.0),
            ("b", -8.0),
            ("ab", -1.0),
            ("ba", -1.0),
            ("\u{2581}a", -2.0),
            ("aba", -0.5),
        ];
        let (tokens, scores) = pieces.iter().map(|&(t, s)| (t.to_owned(), s)).unzip();
        SentencePiece::new(tokens, scores, vec![1], Some(0), adds_space)
    }

    #[test]
    fn best_score_merges_first_and_ties_go_left() {
        let spm = sample(false);
        let cases: [(&str, &[u32]); 5] =
            [("ab", &[7]), ("aba", &[10]), ("bab", &[8, 6]), (" a", &[9]), (" ab", &[4, 7])];
        for (text, want) in cases {
            assert_eq!(spm.encode(text).as_deref(), Ok(want), "{text:?}");
        }
    }

    #[test]
    fn control_tokens_split_the_text_and_restart_the_space() {
        assert_eq!(sample(true).encode("a<s>a"), Ok(vec![9, 1, 9]));
        assert_eq!(sample(false).encode("a<s>a"), Ok(vec![5, 1, 5]));
    }

    #[test]
    fn what_no_token_covers_is_spelled_in_bytes_or_unknown() {
        assert_eq!(sample(false).encode("é"), Ok(vec![2, 3]));
        assert_eq!(sample(false).encode("z"), Ok(vec![0]));
        let strict = SentencePiece::new(vec!["a".into()], vec![0.0], vec![], None, false);
        assert_eq!(strict.encode("z"), Err(b'z'));
    }
}
