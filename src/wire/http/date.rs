//! HTTP dates (RFC 9110 section 5.6.7) to and from Unix seconds, without a clock.

const SECONDS_PER_DAY: i64 = 86_400;
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const WEEKDAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];

/// The last second that has a four-digit year.
pub const MAX_SECONDS: i64 = 253_402_300_799;

/// Parses IMF-fixdate (`Sun, 06 Nov 1994 08:49:37 GMT`, the day also with one digit: http-push-relay.md,
/// trap 3), RFC 850 (`Sunday, 06-Nov-94 08:49:37 GMT`, years 70..99 are 19xx) and asctime
/// (`Sun Nov  6 08:49:37 1994`) to Unix seconds; negative before 1970. The weekday is not compared with the
/// date. A leap second counts as the second before it.
pub fn parse(text: &[u8]) -> Option<i64> {
    let text = text.trim_ascii();
    let weekday = text.iter().position(|byte| !byte.is_ascii_alphabetic())?;
    if weekday < 3 {
        return None;
    }
    match text[weekday..].strip_prefix(b",") {
        Some(rest) => parse_after_comma(rest.trim_ascii_start()),
        None => parse_asctime(&text[weekday..]),
    }
}

/// `06 Nov 1994 08:49:37 GMT` or `06-Nov-94 08:49:37 GMT`.
fn parse_after_comma(text: &[u8]) -> Option<i64> {
    let (day, rest) = number(text, 1, 2)?;
    let (&separator, rest) = rest.split_first()?;
    if separator != b' ' && separator != b'-' {
        return None;
    }
    let (month, rest) = month(rest)?;
    let rest = rest.strip_prefix(&[separator])?;
    let (year, rest) = if separator == b' ' {
        number(rest, 4, 4)?
    } else {
        let (short, rest) = number(rest, 2, 2)?;
        (if short < 70 { 2000 + short } else { 1900 + short }, rest)
    };
    let (time, rest) = time_of_day(rest.strip_prefix(b" ")?)?;
    if rest != b" GMT" {
        return None;
    }
    seconds(year, month, day, time)
}

/// ` Nov  6 08:49:37 1994`.
fn parse_asctime(text: &[u8]) -> Option<i64> {
    let (month, rest) = month(text.strip_prefix(b" ")?)?;
    let rest = rest.strip_prefix(b" ")?;
    let (day, rest) = number(rest.strip_prefix(b" ").unwrap_or(rest), 1, 2)?;
    let (time, rest) = time_of_day(rest.strip_prefix(b" ")?)?;
    let (year, rest) = number(rest.strip_prefix(b" ")?, 4, 4)?;
    if !rest.is_empty() {
        return None;
    }
    seconds(year, month, day, time)
}

/// A number of `min` to `max` digits and what follows it.
fn number(text: &[u8], min: usize, max: usize) -> Option<(i64, &[u8])> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if len < min || len > max {
        return None;
    }
    let value = text[..len].iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    Some((value, &text[len..]))
}

/// Month 1..=12 by its name.
fn month(text: &[u8]) -> Option<(i64, &[u8])> {
    let name = text.get(..3)?;
    let index = MONTHS.iter().position(|month| name.eq_ignore_ascii_case(*month))?;
    Some((index as i64 + 1, &text[3..]))
}

/// `08:49:37` to seconds.
fn time_of_day(text: &[u8]) -> Option<(i64, &[u8])> {
    let (hour, rest) = number(text, 2, 2)?;
    let (minute, rest) = number(rest.strip_prefix(b":")?, 2, 2)?;
    let (second, rest) = number(rest.strip_prefix(b":")?, 2, 2)?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some((hour * 3600 + minute * 60 + second.min(59), rest))
}

fn seconds(year: i64, month: i64, day: i64, time: i64) -> Option<i64> {
    if day < 1 || day > days_in_month(year, month) {
        return None;
    }
    Some(days_before(year, month, day) * SECONDS_PER_DAY + time)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar; years 0..=9999.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    // 719162 days lie between 0001-01-01 and 1970-01-01.
    days_before_year(year) + (1..month).map(|m| days_in_month(year, m)).sum::<i64>() + day - 1 - 719_162
}

/// Days from 0001-01-01 to the first of January.
fn days_before_year(year: i64) -> i64 {
    let past = year - 1;
    past * 365 + past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400)
}

/// Formats Unix seconds as IMF-fixdate. Outside 1970..=9999 the nearest bound is shown.
pub fn format(unix_seconds: i64) -> [u8; 29] {
    let unix_seconds = unix_seconds.clamp(0, MAX_SECONDS);
    let days = unix_seconds / SECONDS_PER_DAY;
    let time = unix_seconds % SECONDS_PER_DAY;
    // The estimate by the mean year length is off by at most one.
    let mut year = 1970 + days * 400 / 146_097;
    while days < days_before(year, 1, 1) {
        year -= 1;
    }
    while days >= days_before(year + 1, 1, 1) {
        year += 1;
    }
    let mut day = days - days_before(year, 1, 1);
    let mut month = 1;
    while day >= days_in_month(year, month) {
        day -= days_in_month(year, month);
        month += 1;
    }
    let mut out = *b"Sun, 00 Jan 0000 00:00:00 GMT";
    // 1970-01-01 was a Thursday.
    out[..3].copy_from_slice(WEEKDAYS[((days + 4) % 7) as usize]);
    two_digits(&mut out[5..7], day + 1);
    out[8..11].copy_from_slice(MONTHS[(month - 1) as usize]);
    two_digits(&mut out[12..14], year / 100);
    two_digits(&mut out[14..16], year % 100);
    two_digits(&mut out[17..19], time / 3600);
    two_digits(&mut out[20..22], time / 60 % 60);
    two_digits(&mut out[23..25], time % 60);
    out
}

fn two_digits(out: &mut [u8], value: i64) {
    out[0] = b'0' + (value / 10) as u8;
    out[1] = b'0' + (value % 10) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn all_three_forms_are_read() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun Nov 06 08:49:37 1994",
            " sun, 06 nov 1994 08:49:37 GMT ",
        ] {
            assert_eq!(parse(text.as_bytes()), Some(784_111_777), "{text}");
        }
        assert_eq!(parse(b"Thu, 1 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(parse(b"Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(parse(b"Wed, 31 Dec 1969 23:59:59 GMT"), Some(-1));
        assert_eq!(parse(b"Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(parse(b"Sat, 31 Dec 2016 23:59:60 GMT"), Some(1_483_228_799));
        assert_eq!(parse(b"Fri, 31 Dec 9999 23:59:59 GMT"), Some(MAX_SECONDS));
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "abcd",
            "0",
            "Thu",
            "Thu, ",
            "Thu, 01 Jan 1970 00:00:00",
            "Thu, 01 Jan 1970 00:00:00 CET",
            "Thu, 001 Jan 1970 00:00:00 GMT",
            "Thu, 00 Jan 1970 00:00:00 GMT",
            "Thu, 32 Jan 1970 00:00:00 GMT",
            "Wed, 29 Feb 2023 00:00:00 GMT",
            "Thu, 01 Foo 1970 00:00:00 GMT",
            "Thu, 01 Jan 197 00:00:00 GMT",
            "Thu, 01 Jan 1970 24:00:00 GMT",
            "Thu, 01 Jan 1970 00:60:00 GMT",
            "Thu, 01 Jan 1970 0:00:00 GMT",
            "Thu, 01-Jan 1970 00:00:00 GMT",
            "Sun Nov  6 08:49:37 1994 GMT",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_httpdate(seconds in 0..=MAX_SECONDS) {
            let time = UNIX_EPOCH + Duration::from_secs(seconds as u64);
            let expected = httpdate::fmt_http_date(time);
            let formatted = format(seconds);
            prop_assert_eq!(std::str::from_utf8(&formatted).unwrap(), expected);
            prop_assert_eq!(parse(&formatted), Some(seconds));
        }

        #[test]
        fn any_bytes_are_safe(text in proptest::collection::vec(any::<u8>(), 0..40), seconds: i64) {
            let _ = parse(&text);
            prop_assert!(parse(&format(seconds)).is_some());
        }
    }
}
