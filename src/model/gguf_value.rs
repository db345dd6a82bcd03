//! GGUF's primitive values and the cursor that reads them.
//!
//! Invariant: `Cursor::take` is the only way to bytes and fails at the end of the file; arrays stay where they are
//! and are walked on demand, so nothing is allocated on the word of a count.
//! Called by `gguf`.

use std::fmt;
use std::path::Path;

use super::error::ModelError;

/// Characters of a text that a message shows.
const TEXT_SHOWN: usize = 80;

/// A metadata value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// u8, u16, u32, u64.
    Unsigned(u64),
    /// i8, i16, i32, i64.
    Signed(i64),
    /// f32, f64.
    Float(f64),
    /// A byte 0 or 1.
    Bool(bool),
    /// UTF-8 text.
    Text(&'a str),
    /// Elements of one kind.
    Array(Array<'a>),
}

impl fmt::Display for Value<'_> {
    /// For messages: an array by its length, a text by its beginning.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(n) => write!(f, "{n}"),
            Self::Signed(n) => write!(f, "{n}"),
            Self::Float(x) => write!(f, "{x:?}"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Text(text) => write!(f, "{:?}", text.chars().take(TEXT_SHOWN).collect::<String>()),
            Self::Array(array) => write!(f, "an array of {} elements", array.count),
        }
    }
}

/// Elements of one kind, checked once, decoded when walked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'a> {
    kind: u32,
    /// Elements.
    pub count: usize,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// The elements in order.
    pub fn values(self) -> impl Iterator<Item = Value<'a>> {
        let mut cursor = Cursor { bytes: self.bytes, at: 0 };
        (0..self.count).map_while(move |_| cursor.scalar(self.kind).ok())
    }
}

/// What stands at a position instead of what is needed.
pub struct Fault {
    need: String,
    have: String,
}

impl Fault {
    /// `have` where `need` belongs.
    pub fn new(need: impl Into<String>, have: impl ToString) -> Self {
        Self { need: need.into(), have: have.to_string() }
    }

    /// The error for a place in a file.
    pub fn at(self, file: &Path, place: impl Into<String>) -> ModelError {
        ModelError::damaged(file, place, self.need, self.have)
    }
}

/// A position in a file.
pub struct Cursor<'a> {
    /// The whole file.
    pub bytes: &'a [u8],
    /// Next byte; at most `bytes.len()`.
    pub at: usize,
}

impl<'a> Cursor<'a> {
    /// Bytes up to the end.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: u64) -> Result<&'a [u8], Fault> {
        match usize::try_from(length).ok().filter(|&length| length <= self.left()) {
            Some(length) => {
                let taken = &self.bytes[self.at..self.at + length];
                self.at += length;
                Ok(taken)
            }
            None => Err(Fault::new(format!("{length} bytes"), format!("{} before the end", self.left()))),
        }
    }

    /// The next N bytes.
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut raw = [0; N];
        raw.copy_from_slice(self.take(N as u64)?);
        Ok(raw)
    }

    /// A little-endian number.
    pub fn u32(&mut self) -> Result<u32, Fault> {
        self.fixed().map(u32::from_le_bytes)
    }

    /// A little-endian number.
    pub fn u64(&mut self) -> Result<u64, Fault> {
        self.fixed().map(u64::from_le_bytes)
    }

    /// A length and that many bytes of UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Fault> {
        let length = self.u64()?;
        let raw = self.take(length)?;
        std::str::from_utf8(raw).map_err(|e| Fault::new("UTF-8", e))
    }

    fn scalar(&mut self, kind: u32) -> Result<Value<'a>, Fault> {
        Ok(match kind {
            0 => Value::Unsigned(u64::from(self.fixed::<1>()?[0])),
            1 => Value::Signed(i64::from(i8::from_le_bytes(self.fixed()?))),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.fixed()?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.fixed()?))),
            4 => Value::Unsigned(u64::from(self.u32()?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.fixed()?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.fixed()?))),
            7 => match self.fixed::<1>()?[0] {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(Fault::new("a boolean, 0 or 1", other)),
            },
            8 => Value::Text(self.text()?),
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.fixed()?)),
            12 => Value::Float(f64::from_le_bytes(self.fixed()?)),
            other => return Err(Fault::new("a value type of GGUF", other)),
        })
    }

    /// A type and a value of it.
    pub fn value(&mut self) -> Result<Value<'a>, Fault> {
        let kind = self.u32()?;
        if kind != 9 {
            return self.scalar(kind);
        }
        let kind = self.u32()?;
        let count = self.u64()?;
        let Some(count) = usize::try_from(count).ok().filter(|&count| count <= self.left()) else {
            let need = format!("an array that fits the {} bytes left", self.left());
            return Err(Fault::new(need, format!("{count} elements")));
        };
        let start = self.at;
        for _ in 0..count {
            self.scalar(kind)?;
        }
        Ok(Value::Array(Array { kind, count, bytes: &self.bytes[start..self.at] }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_any_length_is_short_in_a_message() {
        let bytes = vec![1; 1 << 20];
        let array = Value::Array(Array { kind: 0, count: bytes.len(), bytes: &bytes });
        assert_eq!(array.to_string(), "an array of 1048576 elements");
        let text = "\u{1b}".repeat(1 << 20);
        assert_eq!(Value::Text(&text).to_string(), format!("{:?}", &text[..TEXT_SHOWN]));
        let shown =
            [Value::Unsigned(7), Value::Signed(-7), Value::Float(7.0), Value::Bool(true)].map(|v| v.to_string());
        assert_eq!(shown, ["7", "-7", "7.0", "true"]);
    }
}
