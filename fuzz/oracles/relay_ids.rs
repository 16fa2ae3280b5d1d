//! Where a relay request wants to go on: `If-*`, `Last-Event-ID`, `last_event_id`, `Etag` and the path.
//!
//! - Whatever a request says, it is understood or refused, and what is understood fits the number of its channels.
//! - A position that is written is read as the same position, by header and by query argument.
//! - The plain forms mean what the sheets say (nchan.md section 3, http-push-relay.md section 3).
//!
//! The first line of the body is the request's target, the others are header lines. Flags: see [`location`].

use fanwire::dialect::relay::location::{Location, Path, Surroundings};
use fanwire::dialect::relay::position::{BadId, Resume, TagText, Wanted, wanted};
use fanwire::dialect::relay::settings::{
    FirstMessage, Flavour, LocationMethods, LocationSettings, PathPattern,
};
use fanwire::dialect::relay::template::Scope;
use fanwire::limits::{HttpLimits, RELAY_CHANNEL_ID_BYTES, RELAY_CHANNELS_PER_REQUEST};
use fanwire::wire::http::date;
use fanwire::wire::http::request::{Event, Lines, Reader};

use super::input::Input;

pub fn check(data: &[u8]) {
    let Some(input) = Input::new(data) else { return };
    let mut lines = input.body.split(|byte| *byte == b'\n');
    let target = lines.next().unwrap_or_default();
    let headers: Vec<&[u8]> = lines.collect();
    let location = location(&input);
    let Some((asked, count)) = ask(&location, target, &headers) else { return };
    let expected = plain(&location.settings, target, &headers, count);
    assert!(
        expected.as_ref().is_none_or(|expected| asked.as_ref() == Ok(expected)),
        "{asked:?} {expected:?}"
    );
    let Ok(asked) = asked else { return };
    holds(&asked, count);
    if let Wanted::Behind(resume) = &asked {
        again(resume);
    }
}

/// Flag 0: py-hbpush's rules. 1: several channels. 2: compound ids. 3: skip what is stored on `no-cache`.
fn location(input: &Input<'_>) -> Location {
    let base = if input.flag(0) { LocationSettings::relay() } else { LocationSettings::nchan() };
    compile(&LocationSettings {
        split_delimiter: input.flag(1).then(|| ",".into()),
        compound_etag: input.flag(2),
        ignore_queue_on_no_cache: input.flag(3),
        ..base
    })
}

/// The location `/sub/{channel}`, else with these settings.
fn compile(settings: &LocationSettings) -> Location {
    let settings = LocationSettings {
        path: PathPattern::Prefix("/sub/".into()),
        methods: LocationMethods::Subscriber,
        ..settings.clone()
    };
    let mut around =
        Surroundings { listeners: &[("127.0.0.1:8080", true)], apps: &["app"], stores: Vec::new() };
    match Location::compile(&settings, &mut around) {
        Ok(location) => location,
        Err((key, message)) => panic!("{key}: {message}"),
    }
}

/// What the request asks for and for how many channels; `None` if it is no request for them.
fn ask(location: &Location, target: &[u8], headers: &[&[u8]]) -> Option<(Result<Wanted, BadId>, usize)> {
    let mut bytes = [b"GET ", target, b" HTTP/1.1\r\nHost: h\r\n"].concat();
    for line in headers {
        bytes.extend_from_slice(line);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    let (mut reader, mut lines) = (Reader::default(), Lines::default());
    let Event::Request(request) = reader.step(&mut bytes, &mut lines, &HttpLimits::default()).ok()?.event?
    else {
        return None;
    };
    let path = Path::new(request.target_parts().path_raw)?;
    let captures = location.find(&path)?;
    assert!(!captures.get(1).is_empty() && captures.get(2).is_empty());
    let scope = Scope {
        request: &request,
        captures: &captures,
        peer: &"127.0.0.1:1",
        channel_ids: &[],
        group: b"",
        subscriber_type: "",
        publisher_type: "",
        message_id: "",
        event: "",
    };
    let channels = location.channels(&scope, false).ok()?;
    let count = channels.ids.len();
    assert!((1..=RELAY_CHANNELS_PER_REQUEST).contains(&count) && channels.group.is_empty());
    assert!(channels.ids.iter().all(|id| id.len() <= RELAY_CHANNEL_ID_BYTES));
    assert!(location.settings.split_delimiter.is_some() || channels.ids == [captures.get(1)]);
    Some((wanted(location, &scope, count), count))
}

fn holds(asked: &Wanted, count: usize) {
    let firsts = [
        FirstMessage::Oldest,
        FirstMessage::Newest,
        FirstMessage::FromOldest(u32::MAX),
        FirstMessage::FromNewest(u32::MAX),
    ];
    for (index, first) in (0..count).zip(firsts.into_iter().cycle()) {
        let _ = asked.start(index, first);
    }
    let Wanted::Behind(resume) = asked else {
        assert_eq!(asked.text(), "0:0");
        return;
    };
    assert_eq!(resume.tags.len(), count, "one tag for each channel");
    for index in 0..count {
        let after = resume.after(index);
        assert!(
            after.time <= resume.time
                && (after.time == resume.time || resume.tags[index].is_none() || resume.time == 0)
        );
    }
    for tag in resume.tags.iter().flatten() {
        assert_eq!(TagText::new(*tag).as_bytes(), tag.to_string().as_bytes());
    }
}

/// The position as a client sends it back, in the header and escaped in the target.
fn again(resume: &Resume) {
    let several = resume.tags.len() > 1;
    let several_of = LocationSettings { split_delimiter: Some(",".into()), ..LocationSettings::nchan() };
    let location = compile(&if several { several_of } else { LocationSettings::nchan() });
    let mut text = resume.text();
    if several {
        // In an id the entry of its own message stands in brackets.
        let start = text.find(':').expect("an id") + 1;
        let end = text.find(',').expect("a list");
        text.insert(end, ']');
        text.insert(start, '[');
    }
    let target = format!("/sub/a{}", ",a".repeat(resume.tags.len() - 1));
    let expected = Some((Ok(Wanted::Behind(resume.clone())), resume.tags.len()));
    let header = format!("Last-Event-ID: {text}");
    let older = format!("{target}?last_event_id=1:0");
    assert_eq!(ask(&location, older.as_bytes(), &[header.as_bytes()]), expected, "header");
    let escaped = text.replace(':', "%3A").replace(',', "%2c").replace('[', "%5B").replace(']', "%5d");
    let target = format!("{target}?last_event_id={escaped}");
    assert_eq!(ask(&location, target.as_bytes(), &[]), expected, "argument");
}

/// What the sheets say of a request with one plain id, `None` for all others.
fn plain(settings: &LocationSettings, target: &[u8], headers: &[&[u8]], count: usize) -> Option<Wanted> {
    let behind = |time: u64, tag: u32| {
        let mut tags = vec![None; count];
        tags[0] = Some(tag);
        Some(Wanted::Behind(Resume { time, tags: tags.into() }))
    };
    if target.contains(&b'?') || count > 1 && settings.flavour == Flavour::Relay {
        return None;
    }
    match headers {
        [id] => {
            let id = std::str::from_utf8(id.strip_prefix(b"Last-Event-ID: ")?).ok()?;
            let (time, tag) = id.split_once(':')?;
            behind(digits(time)?.into(), digits(tag)?)
        }
        [since, tag] if !settings.compound_etag => {
            let since = since.strip_prefix(b"If-Modified-Since: ")?;
            let seconds = date::parse(since).filter(|seconds| *seconds > 0)?;
            let tag = std::str::from_utf8(tag.strip_prefix(b"If-None-Match: ")?).ok()?;
            behind(seconds as u64, digits(tag)?)
        }
        _ => None,
    }
}

/// One to nine digits.
fn digits(text: &str) -> Option<u32> {
    let plain = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}
