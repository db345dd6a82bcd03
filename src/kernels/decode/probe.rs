//! Which numbers of a whole activation the words of a probed tile are.
//!
//! | point     | probed at       | the whole vector                                |
//! |-----------|-----------------|-------------------------------------------------|
//! | EMBEDDING | x roots (head)  | x                                               |
//! | QKV       | y roots         | q, k, v, each head by head (after RoPE, scale)  |
//! | AV        | y roots         | attention output, head by head                  |
//! | O, FFN    | x roots         | x                                               |
//!
//! Invariant: pure maps. Called by `plummer verify`.

use crate::units::Coord;

use super::{Decode, Region, point};

impl Decode {
    /// Indices into the whole vector, word by word; empty where `point` is not probed.
    pub fn probed(&self, pe: Coord, at: u16) -> Vec<usize> {
        match (self.region(pe), at) {
            (Region::Head { row, .. }, point::EMBEDDING) => self.hidden_of(row).collect(),
            (Region::Stage(seat), point::O | point::FFN) => self.hidden_of(seat.row).collect(),
            (Region::Stage(seat), point::QKV) => self.heads_of(seat.col, true),
            (Region::Stage(seat), point::AV) => self.heads_of(seat.col, false),
            _ => Vec::new(),
        }
    }

    fn heads_of(&self, col: usize, with_kv: bool) -> Vec<usize> {
        let (columns, s) = (self.columns(), &self.shape);
        let slice = columns.slice(col);
        let (group, mut all) = (columns.group, Vec::new());
        for kv in slice.kv_heads.clone() {
            let own = (0..group).map(|i| kv * group + i);
            // Heads of k follow those of q, heads of v those of k.
            let others = [s.n_heads + kv, s.n_heads + s.n_kv_heads + kv];
            let heads = own.chain(others.into_iter().filter(|_| with_kv));
            all.extend(heads.flat_map(|head| columns.dims(&slice).map(move |d| (head, d))));
        }
        all.into_iter().map(|(head, d)| head * s.head_dim + d).collect()
    }
}
