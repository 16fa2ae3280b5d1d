//! What is read from X.509 certificates. With flag 0 the body is a certificate in DER as anybody might make it, else lines
//! from which one is made: what is read of it is what was put in.

use fanwire::wire::x509::{identity, matches, read};

use super::input::Input;

/// Attribute types below 2.5.4 with their letters here and their names.
const ATTRIBUTES: [(char, u8, &str); 6] =
    [('n', 3, "CN"), ('c', 6, "C"), ('l', 7, "L"), ('s', 8, "ST"), ('o', 10, "O"), ('u', 11, "OU")];

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    if input.flag(0) {
        any(&input, input.body);
    } else {
        made(&input);
    }
}

fn clean(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn any(input: &Input<'_>, der: &[u8]) {
    let most = input.pick(0, &[100, 0, 1, 7, 10_000]);
    let (who, whole) = (identity(der, most), identity(der, usize::MAX));
    assert!(who == "not readable" || who.len() <= most && whole.starts_with(&who), "{who:?} of {whole:?}");
    assert!(clean(&whole), "{whole:?}");
    let Some(read) = read(der) else { return };
    assert!(read.subject.len() + read.dns.len() + read.others.len() <= 3 * der.len());
    for name in &read.dns {
        assert!(clean(name) && !name.bytes().any(|byte| byte.is_ascii_uppercase()), "{name:?}");
        match name.strip_prefix("*.") {
            Some(rest) => assert!(matches(name, &format!("a.{rest}")) && !matches(name, rest), "{name:?}"),
            None => assert!(matches(name, name), "{name:?}"),
        }
    }
    // The year 0 to 9999.
    assert!(
        (-62_200_000_000..=253_402_300_800).contains(&read.not_after_unix_s),
        "{}",
        read.not_after_unix_s
    );
    for end in (0..der.len()).rev().take(8) {
        // What follows the outer element is not looked at; within it nothing may be missing.
        let cut = fanwire::wire::x509::read(&der[..end]);
        assert!(cut.is_none() || cut.as_ref() == Some(&read), "cut off");
    }
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        length @ 0..0x80 => out.push(length as u8),
        length @ 0x80..0x100 => out.extend([0x81, length as u8]),
        length => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend_from_slice(content);
    out
}

/// `?` for control characters.
fn shown(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

/// Lines: `n`, `c`, `l`, `s`, `o`, `u` parts of the subject, `x` an unknown part, `d` a DNS name, `i` an address, `m` and
/// `r` a mailbox and a URI, `t` seconds since 1970 (years 1950 to 2049), `e` another extension.
fn made(input: &Input<'_>) {
    let text = String::from_utf8_lossy(input.body);
    let (mut subject, mut names, mut extensions) = (Vec::new(), Vec::new(), Vec::new());
    let (mut parts, mut dns, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut end_s = 0_i64;
    for line in text.split('\n').take(60) {
        let Some(letter) = line.chars().next().filter(char::is_ascii) else { continue };
        let value = &line[1..];
        if let Some((_, number, name)) = ATTRIBUTES.iter().find(|(known, ..)| *known == letter) {
            subject.extend(attribute(*number, value));
            parts.push(format!("{name}={}", shown(value)));
        }
        match letter {
            'x' => subject.extend(attribute(99, value)),
            'd' => {
                names.extend(element(0x82, value.as_bytes()));
                dns.push(shown(value).to_ascii_lowercase());
            }
            'm' | 'r' => {
                names.extend(element(if letter == 'm' { 0x81 } else { 0x86 }, value.as_bytes()));
                others.push(shown(value));
            }
            'i' => {
                let Ok(address) = value.parse::<std::net::IpAddr>() else { continue };
                match address {
                    std::net::IpAddr::V4(v4) => names.extend(element(0x87, &v4.octets())),
                    std::net::IpAddr::V6(v6) => names.extend(element(0x87, &v6.octets())),
                }
                others.push(address.to_string());
            }
            't' => end_s = value.parse().unwrap_or(end_s).clamp(-631_152_000, 2_524_607_999),
            'e' => {
                let other = [element(6, &[0x55, 0x1d, 0x13]), element(4, value.as_bytes())].concat();
                extensions.extend(element(0x30, &other));
            }
            _ => {}
        }
    }
    if names.len() + subject.len() > 0x8000 {
        return;
    }
    let mut alternative = element(6, &[0x55, 0x1d, 0x11]);
    if input.flag(1) {
        alternative.extend(element(1, &[0xff]));
    }
    alternative.extend(element(4, &element(0x30, &names)));
    extensions.extend(element(0x30, &alternative));
    let dates = [element(0x17, b"260101000000Z"), time(input, end_s)].concat();
    let mut body = element(0xa0, &element(2, &[2]));
    for (tag, content) in [
        (2, &[1][..]),
        (0x30, &[]),
        (0x30, b"issuer"),
        (0x30, &dates),
        (0x30, &subject),
        (0x30, b"key"),
        (0xa3, &element(0x30, &extensions)),
    ] {
        body.extend(element(tag, content));
    }
    let der = element(0x30, &[element(0x30, &body), element(0x30, &[])].concat());
    if body.len() > 0xff00 {
        return;
    }
    let read = read(&der).expect("a certificate");
    assert_eq!((read.subject.as_str(), &read.dns, &read.others), (parts.join(", ").as_str(), &dns, &others));
    assert_eq!(read.not_after_unix_s, end_s);
    any(input, &der);
}

fn attribute(number: u8, value: &str) -> Vec<u8> {
    let pair = [element(6, &[0x55, 4, number]), element(0x0c, value.as_bytes())].concat();
    element(0x31, &element(0x30, &pair))
}

/// The time in one of its two forms, by counting days one by one.
fn time(input: &Input<'_>, end_s: i64) -> Vec<u8> {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut days, second) = (end_s.div_euclid(86_400), end_s.rem_euclid(86_400));
    let mut year = 1970;
    while days < 0 {
        year -= 1;
        days += if leap(year) { 366 } else { 365 };
    }
    while days >= if leap(year) { 366 } else { 365 } {
        days -= if leap(year) { 366 } else { 365 };
        year += 1;
    }
    let mut month = 0;
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let clock = format!("{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60);
    let date = format!("{:02}{:02}{clock}", month + 1, days + 1);
    match input.flag(2) {
        true => element(0x18, format!("{year:04}{date}").as_bytes()),
        false => element(0x17, format!("{:02}{date}", year % 100).as_bytes()),
    }
}
