//! Text of a page: escapes, numbers with their units, names of keys.

/// Text for HTML, between tags or in a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // No place in HTML.
            c if c.is_control() && !c.is_whitespace() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// `text`, or its beginning and an ellipsis where it is longer than `chars`.
pub fn shorten(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    let head: String = text.chars().take(chars.saturating_sub(1)).collect();
    format!("{}…", head.trim_end())
}

/// A number with about three digits, thousands apart: `12,345`, `12.3`, `0.12`; a dash if it is none.
pub fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => "–".to_owned(),
        _ if size >= 99.95 => grouped(value, 0),
        _ if value.fract() == 0.0 => grouped(value, 0),
        _ if size >= 9.995 => grouped(value, 1),
        _ if size >= 0.01 => grouped(value, 2),
        _ => trimmed(value, 4),
    }
}

/// A number with so many decimals, thousands apart.
pub fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, digits) = match whole.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", whole),
    };
    let mut out = String::from(sign);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

/// At most so many decimals, without zeros at their end.
fn trimmed(value: f64, decimals: usize) -> String {
    let text = grouped(value, decimals);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Microseconds in the unit that suits them.
pub fn time_us(us: f64) -> String {
    match us.abs() {
        _ if !us.is_finite() => "–".to_owned(),
        size if size >= 999_500.0 => format!("{} s", number(us / 1e6)),
        size if size >= 999.5 => format!("{} ms", number(us / 1e3)),
        _ => format!("{} µs", number(us)),
    }
}

/// Bytes in the binary unit that suits them.
pub fn bytes(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "–".to_owned(),
        size if size >= f64::from(1 << 30) => format!("{} GiB", number(value / f64::from(1 << 30))),
        size if size >= f64::from(1 << 20) => format!("{} MiB", number(value / f64::from(1 << 20))),
        size if size >= 10_240.0 => format!("{} KiB", number(value / 1024.0)),
        _ => format!("{} B", number(value)),
    }
}

/// A share of 1 in percent.
pub fn percent(share: f64) -> String {
    if share.is_finite() { format!("{} %", trimmed(share * 100.0, 1)) } else { "–".to_owned() }
}

/// Name and value of a figure by its JSON key, in words: the end of a key is its unit.
pub fn figure(key: &str, value: f64) -> (String, String) {
    let spoken = |key: &str| key.replace('_', " ");
    for (end, text) in [("_us", time_us as fn(f64) -> String), ("_bytes", bytes), ("_share", percent)] {
        if let Some(name) = key.strip_suffix(end) {
            return (spoken(name), text(value));
        }
    }
    if let Some(name) = key.strip_suffix("_percent") {
        return (spoken(name), percent(value / 100.0));
    }
    let in_us = [("_ns", 1e-3), ("_ms", 1e3), ("_seconds", 1e6)];
    let time = in_us.into_iter().find_map(|(end, factor)| Some((key.strip_suffix(end)?, factor)));
    match time {
        Some((name, factor)) => (spoken(name), time_us(value * factor)),
        None => (spoken(key), number(value)),
    }
}

/// The load in words: `1,000 subscribers`, `128 B messages`.
pub fn fact(key: &str, value: f64) -> String {
    let count = number(value);
    let many = |one: &str, more: &str| format!("{count} {}", if value == 1.0 { one } else { more });
    match key {
        "payload_bytes" => format!("{} messages", bytes(value)),
        "rate_per_second" => format!("{count} messages/s by the clock"),
        "inflight" => format!("{count} in flight"),
        "pipeline" if value == 1.0 => "one publish in flight each".to_owned(),
        "pipeline" => format!("{count} publishes pipelined"),
        "missed" => many("message missed", "messages missed"),
        "stalled" => many("stalled reader", "stalled readers"),
        "members" => format!("{count} in each room"),
        key => {
            let plural = key.replace('_', " ");
            let singular = plural.strip_suffix('s').unwrap_or(&plural).to_owned();
            many(&singular, &plural)
        }
    }
}

/// Title of a scenario.
pub fn scenario(name: &str) -> String {
    let known = match name {
        "fanout" => "Fan-out",
        "echo" => "Echo",
        "publish" => "Publish over HTTP",
        "compare" => "Fan-out, compared",
        "storm" => "Connection storm",
        "idle" => "Idle connections",
        "rooms" => "Rooms",
        "mixed" => "Mixed carriers",
        "presence" => "Presence",
        "slow" => "Stalled readers",
        "churn" => "Churn",
        "shards" => "Shards",
        _ => "",
    };
    if !known.is_empty() {
        return known.to_owned();
    }
    let spoken = name.replace(['_', '-'], " ");
    let mut chars = spoken.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped() {
        assert_eq!(escape("<a href='x'>\"&\u{1}"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;\u{fffd}");
        assert_eq!(escape("1,000 × µs"), "1,000 × µs");
    }

    #[test]
    fn numbers_keep_about_three_digits() {
        let cases = [
            (0.0, "0"),
            (0.123, "0.12"),
            (0.0012, "0.0012"),
            (1.0, "1"),
            (1.046, "1.05"),
            (12.34, "12.3"),
            (99.96, "100"),
            (5198.4, "5,198"),
            (-1_234_567.0, "-1,234,567"),
            (f64::NAN, "–"),
            (f64::INFINITY, "–"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text, "{value}");
        }
        assert_eq!((number(-0.00001), grouped(999.9, 1)), ("0".to_owned(), "999.9".to_owned()));
    }

    #[test]
    fn units_suit_the_size() {
        assert_eq!((time_us(12.0), time_us(999.6)), ("12 µs".to_owned(), "1.00 ms".to_owned()));
        assert_eq!((time_us(43_210.0), time_us(2e6)), ("43.2 ms".to_owned(), "2 s".to_owned()));
        assert_eq!(
            (bytes(305.6), bytes(65_536.0), bytes(3e9)),
            ("306 B".to_owned(), "64 KiB".to_owned(), "2.79 GiB".to_owned())
        );
        assert_eq!((percent(0.0012), percent(f64::NAN)), ("0.1 %".to_owned(), "–".to_owned()));
    }

    #[test]
    fn keys_become_words() {
        let figure = |key, value| figure(key, value);
        assert_eq!(
            figure("publish_lag_p99_us", 1500.0),
            ("publish lag p99".to_owned(), "1.50 ms".to_owned())
        );
        assert_eq!(figure("all_done_ms", 85.0), ("all done".to_owned(), "85 ms".to_owned()));
        assert_eq!(figure("idle_cpu_share", 0.001), ("idle cpu".to_owned(), "0.1 %".to_owned()));
        assert_eq!(figure("idle_cpu_percent", 0.14), ("idle cpu".to_owned(), "0.1 %".to_owned()));
        assert_eq!(figure("refused", 3.0), ("refused".to_owned(), "3".to_owned()));
        assert_eq!(fact("subscribers", 1000.0), "1,000 subscribers");
        assert_eq!(
            (fact("publishers", 1.0), fact("payload_bytes", 128.0)),
            ("1 publisher".into(), "128 B messages".into())
        );
        assert_eq!(
            (scenario("fanout"), scenario("new_thing"), scenario("")),
            ("Fan-out".into(), "New thing".into(), String::new())
        );
    }

    #[test]
    fn long_names_end_in_an_ellipsis() {
        assert_eq!((shorten("short", 5), shorten("too long", 5)), ("short".to_owned(), "too…".to_owned()));
    }
}
