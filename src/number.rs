//! Numbers for people.

/// A value with about four digits that count.
pub fn number(value: f64) -> String {
    let digits = if value == 0.0 { 0.0 } else { value.abs().log10().floor() };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 12
    let decimals = (3.0 - digits).clamp(0.0, 12.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_keep_four_digits() {
        let texts: Vec<String> = [0.0, 85.234_56, 0.001_234_56, 123_456.7, -3.0].map(number).into();
        assert_eq!(texts, ["0", "85.23", "0.001235", "123457", "-3"]);
    }
}
