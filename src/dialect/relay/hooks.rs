//! Calls to the application: before subscribing or publishing, and when subscribers come and go (nchan sheet
//! section 7, http-push-relay sheet section 8).

use crate::channel::hook::{HookAnswer, HookCall, HookFailure, HookMethod};
use crate::dialect::relay::exchange::{Ask, finish};
use crate::dialect::relay::template::Scope;
use crate::dialect::{Action, Context};
use crate::wire::http::cors::Answer;
use crate::wire::http::response::{Response, is_safe_value};
use bytes::Bytes;
use std::fmt::Write;
use std::sync::Arc;

/// Names that a hook sets itself, whatever the client sent.
const OWN_OF_GET: [&str; 1] = ["host"];
const OWN_OF_POST: [&str; 2] = ["host", "content-type"];

/// A call in nchan's manner: the client's headers and query, and the configured extra headers. `body` with its
/// type makes it a POST.
pub fn call(ask: &Ask<'_>, url: &str, scope: &Scope<'_>, body: Option<(Bytes, Option<Bytes>)>) -> HookCall {
    let own: &[&str] = if body.is_some() { &OWN_OF_POST } else { &OWN_OF_GET };
    let extra = &ask.location.hook_headers;
    let is_set = |name: &str| {
        own.iter().any(|own| own.eq_ignore_ascii_case(name))
            || extra.iter().any(|(extra, _)| extra.eq_ignore_ascii_case(name))
    };
    let mut headers: Vec<(Bytes, Bytes)> = ask
        .request
        .headers
        .iter()
        .filter(|(name, _)| !is_set(name))
        .map(|(name, value)| (copied(name.as_bytes()), copied(value)))
        .collect();
    for (name, template) in extra {
        let value = template.fill(scope);
        if is_safe_value(&value) {
            headers.push((copied(name.as_bytes()), value.into()));
        }
    }
    let method = if body.is_some() { HookMethod::Post } else { HookMethod::Get };
    let (body, content_type) = body.unwrap_or_default();
    if let Some(content_type) = content_type {
        headers.push((Bytes::from_static(b"Content-Type"), content_type));
    }
    HookCall {
        url: with_query(url, ask.request.target_parts().query_raw),
        method,
        headers,
        body,
        timeout_ms: 0,
        answer: false,
        order: None,
    }
}

fn copied(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// The configured URL with the client's query behind it.
fn with_query(url: &str, query: Option<&str>) -> Arc<str> {
    match query.filter(|query| !query.is_empty() && query.bytes().all(|b| b.is_ascii_graphic())) {
        Some(query) if url.contains('?') => format!("{url}&{query}").into(),
        Some(query) => format!("{url}?{query}").into(),
        None => url.into(),
    }
}

/// The two calls of py-hbpush for one channel: subscribe and unsubscribe. All client headers, its Host included.
fn passthrough(ask: &Ask<'_>, url: &str, id: &[u8], order: u64) -> [HookCall; 2] {
    let mut headers =
        vec![(Bytes::from_static(b"Content-Type"), Bytes::from_static(b"application/x-www-form-urlencoded"))];
    let kept = ask.request.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
    headers.extend(kept.map(|(name, value)| (copied(name.as_bytes()), copied(value))));
    let call = |what: &str| {
        let mut body = b"channel_id=".to_vec();
        put_form_value(&mut body, id);
        body.extend_from_slice(what.as_bytes());
        HookCall {
            url: url.into(),
            method: HookMethod::Post,
            headers: headers.clone(),
            body: body.into(),
            timeout_ms: 0,
            answer: false,
            order: Some(order),
        }
    };
    [call("&subscribe=1"), call("&unsubscribe=1")]
}

/// Appends a value of `application/x-www-form-urlencoded`.
fn put_form_value(out: &mut Vec<u8>, value: &[u8]) {
    for &byte in value {
        match byte {
            b' ' => out.push(b'+'),
            _ if byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte) => out.push(byte),
            _ => {
                let digit =
                    |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0').to_ascii_uppercase() as u8;
                out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
}

/// A number that is the same for all requests of one connection, so that its calls keep their order.
pub fn order_of(cx: &Context<'_>) -> u64 {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    let _ = write!(hash, "{}", cx.peer);
    hash.0
}

/// FNV-1a: spreads addresses well enough.
struct Fnv(u64);

impl std::fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

/// Calls for a subscriber: when it begins to wait or is attached, and when it has left.
pub fn subscriber_calls(
    cx: &Context<'_>,
    ask: &Ask<'_>,
    scope: &Scope<'_>,
    streaming: bool,
) -> (Vec<HookCall>, Vec<HookCall>) {
    let settings = &ask.location.settings;
    let (mut coming, mut leaving) = (Vec::new(), Vec::new());
    if streaming {
        // One after the other: the application must not see a subscriber leave before it came.
        let order = Some(cx.random);
        for (url, calls) in
            [(&settings.subscribe_hook, &mut coming), (&settings.unsubscribe_hook, &mut leaving)]
        {
            calls.extend(url.as_deref().map(|url| HookCall { order, ..call(ask, url, scope, None) }));
        }
    }
    if let Some(url) = &settings.passthrough {
        for id in scope.channel_ids {
            let [subscribe, unsubscribe] = passthrough(ask, url, id, order_of(cx));
            coming.push(subscribe);
            leaving.push(unsubscribe);
        }
    }
    (coming, leaving)
}

/// Makes calls that nobody waits for.
pub fn send(cx: &mut Context<'_>, calls: Vec<HookCall>) {
    for call in calls {
        cx.act(Action::Hook { call: Box::new(call), tag: None });
    }
}

/// What an authorization came to.
pub fn allows(answer: &Result<HookAnswer, HookFailure>) -> bool {
    matches!(answer, Ok(answer) if (200..300).contains(&answer.status))
}

/// Answers a request that the application did not allow: subscribers get its answer whole, publishers a bare 403;
/// 502 when there is no answer, or one whose status is none of HTTP (nchan sheet, section 7 and trap 20; RFC 9110
/// section 15).
pub fn refuse(
    cx: &mut Context<'_>,
    ask: &Ask<'_>,
    subscriber: bool,
    answer: Result<HookAnswer, HookFailure>,
) {
    match answer {
        Ok(answer) if answer.status > 599 => {
            ask.refuse(cx, 502, "authorize_unreachable", HookFailure::BadAnswer.text());
        }
        Ok(answer) if subscriber => {
            cx.refused("authorize", format!("{}: back end answered {}", ask.path(), answer.status));
            let mut response = Response::new(answer.status);
            for (name, value) in &answer.headers {
                let name = String::from_utf8_lossy(name);
                if !name.eq_ignore_ascii_case("date")
                    && !name.to_ascii_lowercase().starts_with("access-control-")
                {
                    response = response.header(&name, value);
                }
            }
            finish(cx, ask.http, &response.body("", answer.body), &ask.lines(Answer::Plain));
        }
        Ok(answer) => {
            cx.refused("authorize", format!("{}: back end answered {}", ask.path(), answer.status));
            ask.answer(cx, &Response::new(403));
        }
        Err(failure) => ask.refuse(cx, 502, "authorize_unreachable", failure.text()),
    }
}
