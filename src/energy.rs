//! Energy and cost of a run: chip power x time as the paper has it, and apart from it an account of single events.
//!
//! ```text
//!   power x time   J = W x cycles / Hz                      what WaferLLM's energy tables are made of
//!   events         multiply-adds and words moved, each at the chip's pJ (`EventEnergy`)
//! ```
//! The two answer different questions: the first charges the whole chip for the time of a run, idle cores included, the
//! second only what the run did. Of the second, a multiply-add reads a 16-bit weight and a 32-bit sum and writes the
//! sum; a word that is sent is read once and written once, and on every link passes a router and a pitch of wire.
//! Invariant: pure; nothing here is measured or printed. Called by reports and `plummer chips`.

use serde::Serialize;

use crate::fabric::Chip;
use crate::math::checkpoint::ModelShape;
use crate::math::work;

/// Power of one GPU in WaferLLM's comparison (A100), watts.
pub const GPU_WATTS: f64 = 400.0;

const PJ: f64 = 1e-12;
const BITS: f64 = 32.0;
const SECONDS_PER_HOUR: f64 = 3600.0;

/// Chip power x modelled time, joules.
pub fn joules(chip: &Chip, cycles: f64) -> f64 {
    chip.power_watts * cycles / chip.clock_hz
}

/// WaferLLM's energy ratio: what `gpus` GPUs use in their time over what the chip uses in its own, for the same work.
pub fn ratio_to_gpus(chip: &Chip, gpu_seconds: f64, gpus: f64, chip_seconds: f64) -> f64 {
    gpu_seconds * gpus * GPU_WATTS / (chip_seconds * chip.power_watts)
}

/// Price of modelled time, in the currency of `per_hour`, which is for one chip and hour.
pub fn cost(chip: &Chip, cycles: f64, per_hour: f64) -> f64 {
    cycles / chip.clock_hz / SECONDS_PER_HOUR * per_hour
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Events {
    /// Multiply-adds.
    pub macs: f64,
    /// 32-bit words that cores sent.
    pub words_sent: f64,
    /// The same times links.
    pub wavelet_hops: f64,
}

impl Events {
    /// Of a model that takes `positions` positions from an empty cache and makes logits `heads` times; traffic as
    /// counted: wavelets x links, bursts, bursts x links.
    pub fn of_model(shape: &ModelShape, positions: usize, heads: usize, traffic: (u64, u64, u64)) -> Self {
        let macs =
            shape.n_layers as u64 * work::prefill_layer_macs(shape, positions) + heads as u64 * work::head_macs(shape);
        Self::of(macs, traffic)
    }

    /// Of so many multiply-adds and the traffic of a run: wavelets x links, bursts, bursts x links.
    pub fn of(macs: u64, (wavelets, bursts, hops): (u64, u64, u64)) -> Self {
        let mean_hops = hops as f64 / bursts.max(1) as f64;
        Self { macs: macs as f64, words_sent: wavelets as f64 / mean_hops.max(1.0), wavelet_hops: wavelets as f64 }
    }

    /// So many times the same.
    #[must_use]
    pub fn times(self, n: f64) -> Self {
        Self { macs: n * self.macs, words_sent: n * self.words_sent, wavelet_hops: n * self.wavelet_hops }
    }
}

/// Joules by kind of event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Account {
    /// Reading and writing cores' memories.
    pub sram: f64,
    /// Routers.
    pub router: f64,
    /// Wires between neighbours.
    pub wire: f64,
    /// Arithmetic.
    pub flop: f64,
}

impl Account {
    /// What events take on a chip.
    pub fn of(chip: &Chip, events: &Events) -> Self {
        let e = &chip.energy;
        Self {
            sram: PJ * (events.macs * mac_sram(chip) + events.words_sent * (e.sram_read + e.sram_write)),
            router: PJ * events.wavelet_hops * e.router,
            wire: PJ * events.wavelet_hops * BITS * e.wire * e.pitch,
            flop: PJ * events.macs * 2.0 * e.flop,
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, o: Self) -> Self {
        Self {
            sram: self.sram + o.sram,
            router: self.router + o.router,
            wire: self.wire + o.wire,
            flop: self.flop + o.flop,
        }
    }

    /// So many times the same.
    #[must_use]
    pub fn times(self, n: f64) -> Self {
        Self { sram: n * self.sram, router: n * self.router, wire: n * self.wire, flop: n * self.flop }
    }

    /// Their sum.
    pub fn total(&self) -> f64 {
        self.sram + self.router + self.wire + self.flop
    }
}

/// pJ of memory a multiply-add: half a word of weight and a sum in, a sum out.
fn mac_sram(chip: &Chip) -> f64 {
    1.5 * chip.energy.sram_read + chip.energy.sram_write
}

/// The account held against the chip's power.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CrossCheck {
    /// pJ a core and cycle that the chip's power allows.
    pub by_power: f64,
    /// pJ a core and cycle by events, of a core that multiplies in f16 all the time.
    pub by_events: f64,
}

impl CrossCheck {
    /// Of a chip.
    pub fn of(chip: &Chip) -> Self {
        let by_mac = 2.0 * chip.energy.flop + mac_sram(chip);
        Self {
            by_power: chip.power_watts / chip.cores() as f64 / chip.clock_hz / PJ,
            by_events: by_mac / chip.f16.mac.max(f64::MIN_POSITIVE),
        }
    }

    /// Share of cores that may multiply at once before the events alone exceed the power.
    pub fn busy_share(&self) -> f64 {
        self.by_power / self.by_events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, relative: f64) {
        assert!((a / b - 1.0).abs() <= relative, "{a} is not {b}");
    }

    #[test]
    fn power_of_the_wafer_is_sixteen_picojoules_a_core_cycle() {
        // chip-facts: 15 kW / 850k cores / 1.1 GHz.
        let chip = Chip { cols: 1000, rows: 850, ..Chip::preset("wse2").unwrap() };
        close(CrossCheck::of(&chip).by_power, 16.0, 0.01);
        close(CrossCheck::of(&chip).by_events, 2.0 * (60.0 + 8.7 + 9.1), 1e-9);
    }

    #[test]
    fn the_paper_s_method_and_cost_are_time_times_a_constant() {
        let chip = Chip::preset("wse2").unwrap();
        close(joules(&chip, 1.1e9), 15_000.0, 1e-12);
        // Eight GPUs for 10 s against a wafer for 0.1 s: 32 kJ over 1.5 kJ.
        close(ratio_to_gpus(&chip, 10.0, 8.0, 0.1), 32_000.0 / 1_500.0, 1e-12);
        close(cost(&chip, 1.1e9 * 1800.0, 60.0), 30.0, 1e-12);
    }

    #[test]
    fn an_account_counts_each_event_once() {
        let chip = Chip::preset("wse2").unwrap();
        let events = Events { macs: 1e12, words_sent: 0.0, wavelet_hops: 0.0 };
        let account = Account::of(&chip, &events);
        close(account.flop, 60.0, 1e-9);
        close(account.sram, 1.5 * 5.8 + 9.1, 1e-9);
        assert_eq!((account.router, account.wire), (0.0, 0.0));
        let moved = Account::of(&chip, &Events { macs: 0.0, words_sent: 1e12, wavelet_hops: 10e12 });
        close(moved.sram, 14.9, 1e-9);
        close(moved.router, 30.0, 1e-9);
        close(moved.wire, 10.0 * 32.0 * 0.15 * 0.195, 1e-9);
        close(moved.total(), moved.sram + moved.router + moved.wire, 1e-12);
    }

    #[test]
    fn multiply_adds_are_those_of_the_matrices_and_of_attention() {
        let shape = ModelShape {
            hidden: 4,
            n_layers: 3,
            n_heads: 2,
            n_kv_heads: 1,
            head_dim: 2,
            ffn: 5,
            vocab: 7,
            norm_eps: 1e-5,
            inv_freq: vec![1.0],
            tied: true,
            qkv_bias: false,
        };
        // One position: Q 16, K and V 8 each, O 16, three of 20, score and sum 4 each; the head 28.
        let one = Events::of_model(&shape, 1, 1, (30, 10, 30));
        assert_eq!(one.macs, 3.0 * (16.0 + 16.0 + 16.0 + 60.0 + 8.0) + 28.0);
        assert_eq!((one.words_sent, one.wavelet_hops), (10.0, 30.0));
        // Two: the second attends to two.
        let two = Events::of_model(&shape, 2, 0, (0, 0, 0));
        assert_eq!(two.macs, 3.0 * (2.0 * 108.0 + 8.0 + 16.0));
    }
}
