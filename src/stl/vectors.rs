//! The widest vector instructions that the machine has, chosen when the program runs: a program for any x86-64 is compiled for vectors of two.
//!
//! Lanes of a wider vector are computed by the same operations in the same order, and a product and a sum are never contracted to one operation, so that the
//! bits are the same on every machine. Where a compiler left to itself shuffles lanes, vectors are written out: [`Lanes`].

use pulp::Arch;
pub(super) use pulp::{Scalar, Simd, WithSimd};

/// Does some work by the widest vectors at hand. What the work calls must be inlined into it: a function that is not is compiled for any machine.
#[inline]
pub(super) fn widest(work: impl WithSimd<Output = ()>) {
    Arch::new().dispatch(work);
}

/// Some vectors side by side, so that their chains of operations hide one another's latency.
pub(super) type Lanes<S, const K: usize> = [<S as Simd>::f64s; K];

/// The numbers from a place on.
#[inline(always)]
pub(super) fn load<S: Simd, const K: usize>(_: S, numbers: &[f64], place: usize) -> Lanes<S, K> {
    let (lanes, _) = S::as_simd_f64s(&numbers[place..place + K * S::F64_LANES]);
    *lanes.first_chunk().expect("as many as were cut out")
}

/// Puts numbers from a place on.
#[inline(always)]
pub(super) fn store<S: Simd, const K: usize>(_: S, numbers: &mut [f64], place: usize, lanes: &Lanes<S, K>) {
    let (places, _) = S::as_mut_simd_f64s(&mut numbers[place..place + K * S::F64_LANES]);
    places.copy_from_slice(lanes);
}

/// `one + other`.
#[inline(always)]
pub(super) fn plus<S: Simd, const K: usize>(simd: S, mut one: Lanes<S, K>, other: &Lanes<S, K>) -> Lanes<S, K> {
    for k in 0..K {
        one[k] = simd.add_f64s(one[k], other[k]);
    }
    one
}

/// `one - other`.
#[inline(always)]
pub(super) fn minus<S: Simd, const K: usize>(simd: S, mut one: Lanes<S, K>, other: &Lanes<S, K>) -> Lanes<S, K> {
    for k in 0..K {
        one[k] = simd.sub_f64s(one[k], other[k]);
    }
    one
}

/// `one · other`.
#[inline(always)]
pub(super) fn times<S: Simd, const K: usize>(simd: S, mut one: Lanes<S, K>, other: &Lanes<S, K>) -> Lanes<S, K> {
    for k in 0..K {
        one[k] = simd.mul_f64s(one[k], other[k]);
    }
    one
}

/// `one / other`.
#[inline(always)]
pub(super) fn over<S: Simd, const K: usize>(simd: S, mut one: Lanes<S, K>, other: &Lanes<S, K>) -> Lanes<S, K> {
    for k in 0..K {
        one[k] = simd.div_f64s(one[k], other[k]);
    }
    one
}

/// The same number in every lane.
#[inline(always)]
pub(super) fn all<S: Simd, const K: usize>(simd: S, number: f64) -> Lanes<S, K> {
    [simd.splat_f64s(number); K]
}

/// In each lane `one` where `size` is larger than the bound, `other` elsewhere.
#[inline(always)]
pub(super) fn where_above<S: Simd, const K: usize>(
    simd: S,
    (size, bound): (&Lanes<S, K>, f64),
    mut one: Lanes<S, K>,
    other: &Lanes<S, K>,
) -> Lanes<S, K> {
    let bound = simd.splat_f64s(bound);
    for k in 0..K {
        one[k] = simd.select_f64s(simd.greater_than_f64s(size[k], bound), one[k], other[k]);
    }
    one
}
