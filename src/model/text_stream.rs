//! From token ids to text, a whole character at a time; and the bytes that each token stands for.
//!
//! Invariant: the concatenation of everything a stream gives equals the lossy UTF-8 text of all bytes, and no piece
//! of it ends inside a character.
//! Used by `tokenizer`; `app` prints what `TextStream` gives.

use std::collections::HashMap;

/// How a vocabulary spells bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// GPT-2's printable stand-ins, one character a byte.
    ByteLevel,
    /// `▁` for a space, `<0x0A>` for a byte.
    SentencePiece,
}

/// The byte that each stand-in of GPT-2's table means: printable Latin-1 is itself, the rest follows from U+0100.
fn stand_ins() -> HashMap<char, u8> {
    let is_itself = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 256u32;
    (0..=255u8)
        .filter_map(|byte| {
            let code = if is_itself(byte) {
                u32::from(byte)
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).map(|stand_in| (stand_in, byte))
        })
        .collect()
}

fn byte_token(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

/// The bytes of every token; special tokens have none.
#[derive(Debug, Default)]
pub struct Pieces {
    bytes: HashMap<u32, Box<[u8]>>,
}

impl Pieces {
    /// From (id, text as the vocabulary spells it, is literal text, is special).
    pub fn new<'a>(spelling: Spelling, tokens: impl Iterator<Item = (u32, &'a str, bool, bool)>) -> Self {
        let table = stand_ins();
        let bytes = tokens
            .filter(|(_, _, _, is_special)| !is_special)
            .map(|(id, text, is_literal, _)| {
                let bytes: Vec<u8> = match spelling {
                    _ if is_literal => text.as_bytes().to_vec(),
                    Spelling::ByteLevel => text
                        .chars()
                        .map(|stand_in| table.get(&stand_in).copied())
                        .collect::<Option<_>>()
                        .unwrap_or_else(|| text.as_bytes().to_vec()),
                    Spelling::SentencePiece => {
                        byte_token(text).map_or_else(|| text.replace('\u{2581}', " ").into_bytes(), |byte| vec![byte])
                    }
                };
                (id, bytes.into_boxed_slice())
            })
            .collect();
        Self { bytes }
    }

    /// The bytes of a token; none for special and unknown ones.
    pub fn of(&self, id: u32) -> &[u8] {
        self.bytes.get(&id).map_or(&[], |bytes| bytes)
    }
}

/// Text of a run of tokens, given as soon as its characters are complete.
#[derive(Debug)]
pub struct TextStream<'a> {
    pieces: &'a Pieces,
    /// The start of a character; at most 3 bytes between calls.
    pending: Vec<u8>,
}

impl<'a> TextStream<'a> {
    /// Nothing yet.
    pub fn new(pieces: &'a Pieces) -> Self {
        Self { pieces, pending: Vec::new() }
    }

    /// The characters that `id` completes; bytes that can be no character become U+FFFD.
    pub fn push(&mut self, id: u32) -> String {
        self.pending.extend_from_slice(self.pieces.of(id));
        let mut text = String::new();
        let mut done = 0;
        loop {
            match std::str::from_utf8(&self.pending[done..]) {
                Ok(rest) => {
                    text.push_str(rest);
                    done = self.pending.len();
                    break;
                }
                Err(stop) => {
                    let valid = done + stop.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.pending[done..valid]));
                    done = valid;
                    let Some(wrong) = stop.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    done += wrong;
                }
            }
        }
        self.pending.drain(..done);
        text
    }

    /// What is left: U+FFFD for the start of a character that never ended.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte_pieces() -> Pieces {
        let texts: Vec<String> = (0..=255u32).map(|byte| format!("<0x{byte:02X}>")).collect();
        let tokens = (0u32..).zip(&texts).map(|(id, text)| (id, text.as_str(), false, false));
        Pieces::new(Spelling::SentencePiece, tokens)
    }

    #[test]
    fn stand_ins_cover_every_byte_once() {
        let table = stand_ins();
        let mut bytes: Vec<u8> = table.values().copied().collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        for (stand_in, byte) in [('Ġ', b' '), ('Ċ', b'\n'), ('a', b'a'), ('Ń', 0xad), ('ł', 0xa0)] {
            assert_eq!(table.get(&stand_in), Some(&byte), "{stand_in}");
        }
    }

    #[test]
    fn stream_of_single_bytes_gives_whole_characters_only() {
        let pieces = byte_pieces();
        let text = "naïve 日本 🙂!";
        let mut stream = TextStream::new(&pieces);
        let parts: Vec<String> = text.bytes().map(|byte| stream.push(u32::from(byte))).collect();
        assert!(parts.iter().all(|part| part.chars().count() <= 1 && !part.contains('\u{fffd}')));
        assert_eq!(parts.concat() + &stream.finish(), text);
    }

    proptest::proptest! {
        #[test]
        fn stream_equals_the_lossy_text_of_all_bytes(bytes: Vec<u8>) {
            let pieces = byte_pieces();
            let mut stream = TextStream::new(&pieces);
            let mut text: String = bytes.iter().map(|&byte| stream.push(u32::from(byte))).collect();
            text += &stream.finish();
            proptest::prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn literal_and_special_tokens_are_not_decoded() {
        let tokens = [(0, "Ġa", false, false), (1, "Ġb", true, false), (2, "<s>", true, true)];
        let pieces = Pieces::new(Spelling::ByteLevel, tokens.into_iter());
        let texts: Vec<&[u8]> = (0..4).map(|id| pieces.of(id)).collect();
        assert_eq!(texts, [b" a".as_slice(), "Ġb".as_bytes(), b"", b""]);
    }
}
