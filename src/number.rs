//! Numbers for people.

/// A value with about four digits that count.
pub fn number(value: f64) -> String {
    let digits = if value == 0.0 { 0.0 } else { value.abs().log10().floor() };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 12
    let decimals = (3.0 - digits).clamp(0.0, 12.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// The same in short: from a million on in millions, thousand millions and so on, by the letters M, G, T and P.
pub fn short(value: f64) -> String {
    // What would be rounded to a thousand of a unit is one of the next.
    let unit = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")].into_iter().find(|(size, _)| value.abs() >= 0.9995 * *size);
    let unit = unit.filter(|_| value.abs() >= 1e6);
    unit.map_or_else(|| number(value), |(size, letter)| number(value / size) + letter)
}

/// Two numbers that are told side by side, in short where that tells them apart.
pub fn pair(one: f64, other: f64) -> (String, String) {
    let texts = (short(one), short(other));
    if texts.0 == texts.1 { (number(one), number(other)) } else { texts }
}

/// Numbers of such a size are written without an exponent; what is smaller or larger may have one.
const WRITTEN_OUT: std::ops::Range<f64> = 1e-5..1e15;

/// Adds a number in as few digits as read back to the same bits, without an exponent, as `{}` does: several times as fast, and of two forms that are as
/// near it may take the other one.
pub fn plain(text: &mut String, number: f64) {
    if number != 0.0 && !WRITTEN_OUT.contains(&number.abs()) {
        text.push_str(&number.to_string());
        return;
    }
    let mut buffer = zmij::Buffer::new();
    let written = buffer.format(number);
    text.push_str(written.strip_suffix(".0").unwrap_or(written));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_large_is_short() {
        let told = [999_999.0, 1e6, -32_866_452_398.0, 999_999_999.0, 5.25e15, f64::NAN].map(short);
        assert_eq!(told, ["999999", "1M", "-32.87G", "1G", "5.25P", "NaN"]);
        assert_eq!(pair(500_120_177_564.0, 500_100_060_042.0), ("500120177564".into(), "500100060042".into()));
        assert_eq!(pair(5.0e9, 4.0e9), ("5G".into(), "4G".into()));
    }

    proptest! {
        #[test]
        fn a_plain_number_reads_back_and_is_as_short_as_the_standard_library_writes_it(bits in any::<u64>(), short in -1_000_000_i64..1_000_000) {
            #[allow(clippy::cast_precision_loss)] // far below 2^52
            for number in [f64::from_bits(bits), short as f64, short as f64 / 1000.0, -0.0] {
                let mut text = String::new();
                plain(&mut text, number);
                let read: f64 = text.parse().unwrap();
                prop_assert!(read.to_bits() == number.to_bits() || number.is_nan() && read.is_nan(), "{}", text);
                prop_assert_eq!(text.len(), number.to_string().len(), "{}", text);
            }
        }
    }

    #[test]
    fn no_number_is_written_with_an_exponent() {
        for edge in [1e-5, 1e-4, 1e15, 1e16, f64::MIN_POSITIVE, f64::MAX] {
            for number in [edge, edge.next_down(), edge.next_up(), 1.5 * edge, 9.9 * edge, 0.99 * edge]
                .into_iter()
                .flat_map(|number| [number, -number])
            {
                let mut text = String::new();
                plain(&mut text, number);
                assert!(!text.contains(['e', 'E']) && text.parse::<f64>().is_ok_and(|read| read.to_bits() == number.to_bits()), "{text}");
            }
        }
    }

    #[test]
    fn numbers_are_short_and_keep_four_digits() {
        let texts: Vec<String> = [0.0, 85.234_56, 0.001_234_56, 123_456.7, -3.0].map(number).into();
        assert_eq!(texts, ["0", "85.23", "0.001235", "123457", "-3"]);
    }
}
