//! Ragged splits: how a dimension is cut into contiguous parts, into how many; and a search for the largest size that
//! fits.
//!
//! Invariant: parts are in order, cover `0..n` exactly, and the first `n mod parts` are one longer than the rest (parts
//! are empty when `n < parts`). Called by placement, by the kernels' layouts and by the oracle.

use std::ops::Range;

/// The `parts` parts of `0..n`, in order.
pub fn split(n: usize, parts: usize) -> impl ExactSizeIterator<Item = Range<usize>> + Clone {
    (0..parts).map(move |i| part(n, parts, i))
}

/// Part `i` of `split(n, parts)`; `i < parts`.
#[inline]
pub fn part(n: usize, parts: usize, i: usize) -> Range<usize> {
    assert!(i < parts, "part {i} of {parts}");
    let (base, longer) = (n / parts, n % parts);
    let start = i * base + i.min(longer);
    start..start + base + usize::from(i < longer)
}

/// Which part of `split(n, parts)` holds `index`; `index < n`.
#[inline]
pub fn part_of(n: usize, parts: usize, index: usize) -> usize {
    assert!(index < n, "index {index} of {n}");
    let (base, longer) = (n / parts, n % parts);
    let in_longer = longer * (base + 1);
    if index < in_longer { index / (base + 1) } else { longer + (index - in_longer) / base }
}

/// Groups that level `level` of `levels` makes of `n` members if all levels cut alike: n^((levels - level) / levels),
/// rounded, at least 1. They choose the order of a sum, so the power is that of `libm`, the same on every host.
pub fn even_groups(n: usize, level: usize, levels: usize) -> usize {
    (libm::pow(n as f64, (levels - level) as f64 / levels as f64).round() as usize).max(1)
}

/// The largest number up to `most` for which `fits` holds, as it does for `least` and not again once it fails.
pub fn largest(least: usize, most: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut good, mut bad) = (least, most.max(least) + 1);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if fits(middle) { good = middle } else { bad = middle }
    }
    good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_that_fits_is_found_wherever_it_lies() {
        for (least, most) in [(0, 0), (0, 1), (3, 20), (7, 2)] {
            for last in least..=most.max(least) {
                assert_eq!(largest(least, most, |n| n <= last), last, "{least} to {most}");
            }
        }
    }

    #[test]
    fn parts_cover_in_order_and_the_first_ones_are_longer() {
        for n in 0..40 {
            for parts in 1..20 {
                let ranges: Vec<_> = split(n, parts).collect();
                assert_eq!(ranges.len(), parts);
                let mut next = 0;
                for (i, range) in ranges.iter().enumerate() {
                    assert_eq!(range.start, next);
                    assert_eq!(range.len(), n / parts + usize::from(i < n % parts), "split({n}, {parts})[{i}]");
                    range.clone().for_each(|index| assert_eq!(part_of(n, parts, index), i));
                    next = range.end;
                }
                assert_eq!(next, n);
            }
        }
    }
}
