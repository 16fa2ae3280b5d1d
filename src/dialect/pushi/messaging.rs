//! Sending outside of channels (pushi.md section 9.9): HTTP calls are made; mail and the push services of browsers and of
//! Apple are out of scope, and say so.

use super::Pushi;
use super::answer::{Answer, ApiError};
use super::backend::Asked;
use super::frame::is_true;
use super::publish::hook;
use super::route::Adapter;
use crate::channel::hook::{HookMethod, HookTarget};
use crate::dialect::Context;
use crate::limits::PUSHI_HOOKS_PER_PUBLISH;
use crate::wire::json::{Value, comma, string};
use bytes::Bytes;

const OUT_OF_SCOPE: &str = "This node delivers to web hooks only";

impl Pushi {
    /// Sends what the body says: by the adapter of the path, else by those that the body names.
    pub(super) fn send(
        &self,
        cx: &mut Context<'_>,
        asked: &Asked,
        adapter: Option<Adapter>,
    ) -> Result<Answer, ApiError> {
        let mut tools = cx.tools.pushi.take().unwrap_or_default();
        let document = tools.reader.read_bytes(&asked.body);
        let answer = match document.as_ref().map(|document| document.root()) {
            Err(_) => Err(ApiError::Runtime("The body is no JSON object")),
            Ok(root) => match adapter {
                Some(Adapter::Webhook) => call(cx, root, "urls").map(Answer::json),
                Some(adapter) => {
                    cx.refused("pushi_messaging", format!("{}: {OUT_OF_SCOPE}", adapter.name()));
                    Err(ApiError::Runtime(OUT_OF_SCOPE))
                }
                None => send_all(cx, root),
            },
        };
        drop(document);
        cx.tools.pushi = Some(tools);
        answer
    }
}

/// One answer for each adapter.
fn send_all(cx: &mut Context<'_>, root: Value<'_, '_>) -> Result<Answer, ApiError> {
    let adapters = root.get("adapters").map(Value::items).into_iter().flatten().take(PUSHI_HOOKS_PER_PUBLISH);
    let (mut out, mut first) = (b"{".to_vec(), true);
    for name in adapters.filter_map(Value::as_str) {
        comma(&mut out, &mut first);
        string(&mut out, name.as_bytes());
        out.push(b':');
        match Adapter::from_name(name) {
            Some(Adapter::Webhook) => match call(cx, root, "webhook_urls") {
                Ok(answer) => out.extend(answer),
                Err(error) => failed(&mut out, &error.message()),
            },
            Some(_) => {
                cx.refused("pushi_messaging", format!("{name}: {OUT_OF_SCOPE}"));
                failed(&mut out, OUT_OF_SCOPE);
            }
            None => failed(&mut out, &format!("Unknown adapter: {name}")),
        }
    }
    out.push(b'}');
    Ok(Answer::json(out))
}

fn failed(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"{\"success\":false,\"error\":");
    string(out, text.as_bytes());
    out.push(b'}');
}

/// Calls all URLs; nobody waits for what comes of it.
fn call(cx: &mut Context<'_>, root: Value<'_, '_>, field: &str) -> Result<Vec<u8>, ApiError> {
    let pick =
        |names: [&str; 2]| names.into_iter().find_map(|name| root.get(name).filter(|value| is_true(*value)));
    let one = pick(["url", "webhook_url"]).and_then(Value::as_str);
    let many = pick([field, "urls"]).map(Value::items).into_iter().flatten();
    let urls: Vec<&str> = one.into_iter().chain(many.filter_map(Value::as_str)).collect();
    if urls.is_empty() {
        return Err(ApiError::Runtime("No URLs set for web hook"));
    }
    if urls.len() > PUSHI_HOOKS_PER_PUBLISH || urls.iter().any(|url| HookTarget::parse(url).is_err()) {
        return Err(ApiError::Runtime("Too many URLs for web hook, or one that cannot be called"));
    }
    let method_text = pick(["method", "webhook_method"]).and_then(Value::as_str).unwrap_or("POST");
    let method = match method_text {
        "POST" => HookMethod::Post,
        "GET" => HookMethod::Get,
        _ => return Err(ApiError::Runtime("A web hook is called with GET or POST")),
    };
    let headers = pick(["headers", "webhook_headers"]).map(Value::members).into_iter().flatten();
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let headers: Vec<_> =
        headers.filter_map(|(name, value)| Some((bytes(name), bytes(value.as_str()?)))).collect();
    let body = bytes(root.get("data").map_or("null", Value::raw));
    let (mut out, mut first) = (b"{\"success\":true,\"urls\":[".to_vec(), true);
    for url in urls {
        comma(&mut out, &mut first);
        string(&mut out, url.as_bytes());
        hook(cx, url.into(), headers.clone(), body.clone(), method);
    }
    out.extend_from_slice(b"],\"method\":");
    string(&mut out, method_text.as_bytes());
    out.push(b'}');
    Ok(out)
}
