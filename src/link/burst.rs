//! A burst: a run of wavelets that moves as one, with its virtual times; and the constants that times are made of.
//!
//! Invariant: a burst fits 32 bytes, so that two slots of a lane fill one cache line.

/// Constants of the clock, all in cycles unless said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// One hop over a link.
    pub alpha: u32,
    /// Between compute element and router, either way (T_R).
    pub ramp: u32,
    /// Extra at a router where a burst changes direction.
    pub turn: u32,
    /// Numerator of cycles per wavelet.
    pub ser_num: u32,
    /// Denominator of cycles per wavelet.
    pub ser_den: u32,
    /// Issue of a send.
    pub issue: u32,
    /// The `+ 1` of a dependent stage (receive end, combine).
    pub stage: u32,
    /// Bursts that a lane holds.
    pub lane_depth: u8,
    /// Longest burst, in wavelets, that is buffered by value; longer ones are rendezvous.
    pub queue_wavelets: u32,
}

impl Timing {
    /// `Ser(w)`: cycles that `wavelets` occupy a link; an empty burst travels as one control wavelet.
    #[inline(always)]
    pub fn ser(&self, wavelets: u32) -> u64 {
        let w = wavelets.max(1);
        if self.ser_num == self.ser_den {
            return u64::from(w);
        }
        (u64::from(w) * u64::from(self.ser_num)).div_ceil(u64::from(self.ser_den))
    }
}

/// Control words of a pass: they ride in front of the payload, also in a dry run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ctrl {
    /// What the pass is, and its slot (kind in the high half, slot in the low one).
    pub kind_slot: u32,
    /// Position of the token; counts as shape.
    pub position: u32,
}

impl Ctrl {
    /// Wavelets that a `Ctrl` adds to a burst.
    pub const WAVELETS: u32 = 2;
}

/// A run of wavelets on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(32))]
pub struct Burst {
    /// Time of the first wavelet at the router that holds the burst.
    /// In a dead slot: the time at which the slot was freed.
    pub head: u64,
    /// Tail minus head.
    pub span: u32,
    /// Short burst: its buffer. Rendezvous: whose tile it is, a ticket of this worker, or a port and `BY_PORT`.
    pub payload: u32,
    /// Dependent messages up to and including this one.
    pub depth: u32,
    /// Payload words.
    pub words: u16,
    /// Carries a `Ctrl` in front.
    pub has_ctrl: bool,
    /// Longer than the queues: the payload stays in the sender's tile.
    pub rendezvous: bool,
    /// Control words.
    pub ctrl: Ctrl,
}

/// Wavelets of so many payload words, with or without a `Ctrl` in front, on a link: at least one.
#[inline(always)]
pub fn wavelets(words: u16, has_ctrl: bool) -> u32 {
    (u32::from(words) + if has_ctrl { Ctrl::WAVELETS } else { 0 }).max(1)
}

impl Burst {
    /// Wavelets on a link, at least one.
    #[inline(always)]
    pub fn wavelets(&self) -> u32 {
        wavelets(self.words, self.has_ctrl)
    }

    /// Time of the last wavelet.
    #[inline(always)]
    pub fn tail(&self) -> u64 {
        self.head + u64::from(self.span)
    }
}

const _: () = assert!(std::mem::size_of::<Burst>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialisation_rounds_up_and_counts_an_empty_burst_as_one() {
        let mut t = Timing {
            alpha: 1,
            ramp: 2,
            turn: 0,
            ser_num: 1,
            ser_den: 1,
            issue: 0,
            stage: 1,
            lane_depth: 2,
            queue_wavelets: 8,
        };
        assert_eq!((t.ser(0), t.ser(1), t.ser(7)), (1, 1, 7));
        (t.ser_num, t.ser_den) = (9, 8);
        assert_eq!((t.ser(1), t.ser(8), t.ser(9)), (2, 9, 11));
    }
}
