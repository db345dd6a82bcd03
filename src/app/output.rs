//! Text to stdout as it is made, up to a stop text.
//!
//! Invariant: nothing of a stop text is ever written; a reader that goes away is not an error but ends the run.
//! Called by `generate`.

use std::io::{self, Write};

/// What is written so far and what is held back.
pub struct TextOut<'a> {
    stops: &'a [String],
    /// All text that counts, without the stop text.
    pub text: String,
    held: String,
    live: bool,
    /// The reader of stdout went away.
    pub closed: bool,
}

impl<'a> TextOut<'a> {
    /// `live`: write to stdout.
    pub fn new(stops: &'a [String], live: bool) -> Self {
        Self { stops, text: String::new(), held: String::new(), live, closed: false }
    }

    /// Takes more text. True if a stop text was met.
    pub fn push(&mut self, more: &str) -> io::Result<bool> {
        self.held.push_str(more);
        let stops = self.stops.iter().filter(|s| !s.is_empty());
        if let Some(at) = stops.clone().filter_map(|s| self.held.find(s.as_str())).min() {
            self.held.truncate(at);
            self.flush()?;
            return Ok(true);
        }
        let keep = stops.map(|s| overlap(&self.held, s)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        self.flush()?;
        self.held = rest;
        Ok(false)
    }

    /// Writes what is held back.
    pub fn flush(&mut self) -> io::Result<()> {
        let text = std::mem::take(&mut self.held);
        self.text.push_str(&text);
        if self.live && !text.is_empty() {
            self.write(&text)?;
        }
        Ok(())
    }

    /// Writes to stdout at once; a broken pipe only sets `closed`.
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other.map_err(|e| io::Error::new(e.kind(), format!("stdout: {e}"))),
        }
    }
}

/// Bytes at the end of `text` that begin `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let lengths = stop.char_indices().map(|(i, _)| i).skip(1);
    lengths.filter(|&n| text.ends_with(&stop[..n])).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_text_is_cut_wherever_the_pieces_break() -> io::Result<()> {
        let stops = ["END".to_owned(), "é!".to_owned()];
        for (pieces, text, stopped) in [
            (vec!["a E", "N", "Db"], "a ", true),
            (vec!["EEN", "X"], "EENX", false),
            (vec!["é", "!"], "", true),
            (vec!["aé"], "aé", false),
        ] {
            let mut out = TextOut::new(&stops, false);
            let mut met = false;
            for piece in &pieces {
                met |= out.push(piece)?;
            }
            out.flush()?;
            assert_eq!((out.text.as_str(), met), (text, stopped), "{pieces:?}");
        }
        Ok(())
    }
}
