//! A bitmap to draw on that can write: plotters without a font has no letters for pixels.
//!
//! Invariant: text is laid out in cells of 8 x 8 pixels, the same on every host. Called by `plot`.

use font8x8::UnicodeFonts as _;
use plotters::backend::BitMapBackend;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{BackendColor, BackendCoord, BackendTextStyle, DrawingBackend, DrawingErrorKind};

/// Side of a letter, in pixels.
const CELL: i32 = 8;

/// See the module.
pub struct Lettered<'a>(pub BitMapBackend<'a>);

impl<'a> DrawingBackend for Lettered<'a> {
    type ErrorType = <BitMapBackend<'a> as DrawingBackend>::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.0.get_size()
    }

    fn ensure_prepared(&mut self) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.0.ensure_prepared()
    }

    fn present(&mut self) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.0.present()
    }

    fn draw_pixel(&mut self, at: BackendCoord, color: BackendColor) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.0.draw_pixel(at, color)
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        _: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Self::ErrorType>> {
        Ok((text.chars().count() as u32 * CELL as u32, CELL as u32))
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        at: BackendCoord,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        let (width, anchor) = (text.chars().count() as i32 * CELL, style.anchor());
        let left = match anchor.h_pos {
            HPos::Left => 0,
            HPos::Right => width,
            HPos::Center => width / 2,
        };
        let above = match anchor.v_pos {
            VPos::Top => 0,
            VPos::Center => CELL / 2,
            VPos::Bottom => CELL,
        };
        let (cols, rows) = self.get_size();
        for (i, letter) in text.chars().enumerate() {
            let glyph = font8x8::BASIC_FONTS.get(letter).unwrap_or([0x7e; 8]);
            for bit in (0..CELL * CELL).filter(|b| glyph[(b / CELL) as usize] >> (b % CELL) & 1 == 1) {
                let (x, y) = (at.0 - left + i as i32 * CELL + bit % CELL, at.1 - above + bit / CELL);
                if (0..cols as i32).contains(&x) && (0..rows as i32).contains(&y) {
                    self.draw_pixel((x, y), style.color())?;
                }
            }
        }
        Ok(())
    }
}
