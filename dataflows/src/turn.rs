//! Whose turn it is among those who come round and round, as they do from whoever collects metrics.

/// The place whose turn it is among all, in the order in which they came first, and the one behind the last who came out of turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    next: usize,
    other: usize,
}

impl Turn {
    /// The place whose turn it is. There may be none: nobody came yet, or who did is gone.
    #[inline]
    pub fn next(self) -> usize {
        self.next
    }

    /// Where else somebody probably is: behind one who is late or gone, or where another order goes on.
    pub fn others(self) -> [usize; 2] {
        [self.next + 1, self.other]
    }

    /// Takes note of who came, of so many. One that is late leaves a gap where its turn was, and changes nobody else's turn; of two who are late in a row
    /// the order goes on from the second.
    #[inline]
    pub fn follow(&mut self, place: usize, count: usize) {
        // Behind the last one, the first one's turn comes.
        let behind = if place + 1 < count { place + 1 } else { 0 };
        if place == self.next || place == self.next + 1 {
            self.next = behind;
        } else if place == self.other {
            (self.next, self.other) = (behind, self.next);
        } else {
            self.other = behind;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of those who come, of ten, are where they are expected, and how many where they probably are.
    fn expected(order: &[usize]) -> (usize, usize) {
        let mut turn = Turn::default();
        order.iter().fold((0, 0), |(next, others), place| {
            let (is_next, is_other) = (turn.next() == *place, turn.others().contains(place));
            turn.follow(*place, 10);
            (next + usize::from(is_next), others + usize::from(is_other && !is_next))
        })
    }

    #[test]
    fn who_goes_round_is_expected_and_one_who_is_late_disturbs_nobody() {
        assert_eq!(expected(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]), (13, 0));
        assert_eq!(expected(&[0, 1, 8, 2, 3, 4]), (5, 0), "8 is late");
        assert_eq!(expected(&[0, 1, 3, 4, 5]), (4, 1), "2 is missing");
    }

    #[test]
    fn an_order_that_goes_on_elsewhere_is_followed() {
        assert_eq!(expected(&[0, 1, 6, 7, 8, 9, 0, 1, 2]), (7, 1));
        assert_eq!(expected(&[0, 1, 6, 7, 2, 3, 4]), (4, 2), "and so it is where it comes back");
    }
}
