//! Comparisons of the arithmetic contract: the maximum of reductions and the winner of an argmax.
//!
//! Invariant: neither depends on the sign of zero or on the order of equal candidates.
//! Called by `vector`, the collectives' Max and MaxId combines, and the oracle.

/// The maximum of a reduction: -0.0 counts as +0.0, `a` is what has been accumulated, `b` the newcomer.
///
/// `if b > a { b } else { a }`: a NaN in `a` stays, a NaN in `b` is dropped (the sum that follows meets it again).
#[inline(always)]
pub fn fmax(a: f32, b: f32) -> f32 {
    // -0.0 + 0.0 = +0.0 in round-to-nearest; everything else is unchanged.
    let (a, b) = (a + 0.0, b + 0.0);
    if b > a { b } else { a }
}

/// The better of two (logit, id) candidates: the larger logit, at equal logits the lower id. `a` was there first.
#[inline]
pub fn max_id(a: (f32, u32), b: (f32, u32)) -> (f32, u32) {
    if b.0 > a.0 || (b.0 == a.0 && b.1 < a.1) { b } else { a }
}

/// Index and value of the largest logit, the lowest index on ties; nothing for an empty slice. NaN never wins against
/// a number.
pub fn argmax(logits: &[f32]) -> Option<(f32, u32)> {
    let candidates = logits.iter().zip(0u32..).map(|(logit, id)| (*logit, id));
    candidates.reduce(|a, b| if a.0.is_nan() { b } else { max_id(a, b) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fmax_follows_the_rule_on_every_pair_of_edges() {
        let inf = f32::INFINITY;
        for (a, b, expect) in [
            (1.0, 2.0, 2.0),
            (2.0, 1.0, 2.0),
            (-0.0, -0.0, 0.0),
            (-0.0, 0.0, 0.0),
            (0.0, -0.0, 0.0),
            (-inf, -inf, -inf),
            (-inf, -0.0, 0.0),
            (inf, 1.0, inf),
            (-1.0, -0.0, 0.0),
            (1.0, f32::NAN, 1.0),
        ] {
            assert_eq!(fmax(a, b).to_bits(), f32::to_bits(expect), "fmax({a}, {b})");
        }
        assert!(fmax(f32::NAN, 1.0).is_nan());
    }

    #[test]
    fn max_id_is_commutative_and_associative_on_a_small_world() {
        let world: Vec<(f32, u32)> =
            [-1.0f32, -0.0, 0.0, 2.0].iter().flat_map(|l| (0..3).map(move |id| (*l, id))).collect();
        for &a in &world {
            for &b in &world {
                let ab = max_id(a, b);
                assert!(ab.0 == max_id(b, a).0 && ab.1 == max_id(b, a).1, "{a:?} {b:?}");
                for &c in &world {
                    let (left, right) = (max_id(ab, c), max_id(a, max_id(b, c)));
                    assert!(left.0 == right.0 && left.1 == right.1, "{a:?} {b:?} {c:?}");
                }
            }
        }
    }

    #[test]
    fn argmax_takes_the_lowest_id_on_ties() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0, 2.0]), Some((3.0, 1)));
        assert_eq!(argmax(&[f32::NAN, -5.0]), Some((-5.0, 1)));
        assert_eq!(argmax(&[]), None);
    }
}
