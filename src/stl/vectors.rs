//! The widest vector instructions that the machine has, chosen when the program runs: a program for any x86-64 is compiled for vectors of two.
//!
//! Lanes of a wider vector are computed by the same operations in the same order, and a product and a sum are never contracted to one operation, so that the
//! bits are the same on every machine.

/// Does some work by the widest vectors at hand. What the work calls must be inlined into it: a function that is not is compiled for any machine.
#[inline]
pub(super) fn widest(work: impl FnOnce()) {
    pulp::Arch::new().dispatch(work);
}
