//! What stands where no value in reach had weight: a straight line between fits of the same column.

/// Fills NaN at the given rows of a column from the fits on both sides, level beyond the outermost. A column of nothing but NaN stays so.
pub(super) fn bridge(table: &mut [f64], width: usize, column: usize, rows: impl Iterator<Item = usize>) {
    let mut known: Option<(usize, f64)> = None;
    let mut open: Vec<usize> = Vec::new();
    for row in rows {
        let value = table[row * width + column];
        if value.is_nan() {
            open.push(row);
            continue;
        }
        for hole in open.drain(..) {
            #[allow(clippy::cast_precision_loss)] // far below 2^52
            let share = known.map_or(1.0, |(from, _)| (hole - from) as f64 / (row - from) as f64);
            let from = known.map_or(value, |(_, from)| from);
            table[hole * width + column] = from + (value - from) * share;
        }
        known = Some((row, value));
    }
    if let Some((_, value)) = known {
        open.into_iter().for_each(|hole| table[hole * width + column] = value);
    }
}

/// Fills the first and the last of so many rows from their neighbours, where they are NaN.
pub(super) fn extend(table: &mut [f64], width: usize, column: usize, rows: usize) {
    for (end, neighbour) in [(0, 1), (rows - 1, rows - 2)] {
        if table[end * width + column].is_nan() {
            table[end * width + column] = table[neighbour * width + column];
        }
    }
}
