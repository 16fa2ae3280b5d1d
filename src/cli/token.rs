//! `fanwire token`: signatures as the application behind a node makes them (pusher.md sections 6, 11 and 12; pushi.md
//! section 6), for trying things out and for finding out why one is refused.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, Engine};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::args::{TokenApiArgs, TokenCommand, TokenKeyArgs, TokenPushiCommand, TokenSharedSecretArgs};
use super::{Surroundings, app, grant};
use crate::limits::CLI_MESSAGE_BYTES;
use crate::wire::json;
use crate::wire::sign::{self, ApiQuery, hmac_sha256, same_text};

/// What cannot stand in a query as it is; escapes that are there already stay.
const RAW_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'\'');

/// Where a node is when nothing says so.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// Who signs.
struct Signer {
    id: Option<String>,
    key: String,
    secret: String,
}

impl Signer {
    fn new(surroundings: &mut Surroundings<'_>, args: &TokenKeyArgs) -> Result<Signer, String> {
        if let (Some(key), Some(secret)) = (&args.key, &args.secret) {
            return Ok(Signer { id: args.app.clone(), key: key.clone(), secret: secret.clone() });
        }
        let app = app::find(surroundings, &args.config, args.app.as_deref())?;
        let key = args.key.clone().unwrap_or(app.key);
        Ok(Signer { id: Some(app.id), key, secret: args.secret.clone().unwrap_or(app.secret) })
    }

    fn sign(&self, text: &str) -> String {
        hmac_sha256(self.secret.as_bytes(), text.as_bytes()).to_string()
    }
}

/// `fanwire token`.
pub(super) fn run(surroundings: &mut Surroundings<'_>, command: &TokenCommand) -> Result<(), String> {
    match command {
        TokenCommand::Grant(args) => grant::grant(surroundings, args),
        TokenCommand::Url(args) => grant::url(surroundings, args),
        TokenCommand::Private(args) => {
            let text = sign::channel_string(pusher_socket(&args.socket_id)?, &args.channel, None);
            auth(surroundings, &args.keys, &text, args.json.then_some(&[]))
        }
        TokenCommand::Presence(args) => {
            let (channel, data) = (&args.channel, args.data.as_str());
            let text = sign::channel_string(pusher_socket(&channel.socket_id)?, &channel.channel, Some(data));
            auth(surroundings, &channel.keys, &text, channel.json.then_some(&[("channel_data", data)]))
        }
        TokenCommand::User(args) => {
            let text = sign::user_string(pusher_socket(&args.socket_id)?, &args.data);
            auth(surroundings, &args.keys, &text, args.json.then_some(&[("user_data", &args.data)]))
        }
        TokenCommand::Api(args) => api(surroundings, args),
        TokenCommand::Webhook(args) => {
            let body = body(args.data.as_deref(), args.body.as_deref())?.unwrap_or_default();
            let signer = Signer::new(surroundings, &args.keys)?;
            let signature = sign::webhook(signer.secret.as_bytes(), &body).to_string();
            tell(surroundings, &signature, &args.keys.check, "the body")
        }
        TokenCommand::SharedSecret(args) => shared_secret(surroundings, args),
        TokenCommand::Pushi(TokenPushiCommand::Channel(args)) => {
            let text = sign::channel_string(&args.socket_id, &args.channel, None);
            auth(surroundings, &args.keys, &text, args.json.then_some(&[]))
        }
        TokenCommand::Pushi(TokenPushiCommand::Url(args)) => {
            let text = sign::channel_string(&args.url, &args.channel, None);
            auth(surroundings, &args.keys, &text, None)
        }
    }
}

/// Pusher's libraries sign for no other names, so that nobody is tricked into signing something else.
fn pusher_socket(id: &str) -> Result<&str, String> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let good = id.split_once('.').is_some_and(|(a, b)| digits(a) && digits(b));
    good.then_some(id).ok_or_else(|| format!("a socket id is digits.digits, not `{}`", id.escape_debug()))
}

/// Prints `KEY:SIGNATURE` of `text`, or an object with it and `more`; or checks the one that is given.
fn auth(
    surroundings: &mut Surroundings<'_>,
    keys: &TokenKeyArgs,
    text: &str,
    more: Option<&[(&str, &str)]>,
) -> Result<(), String> {
    let signer = Signer::new(surroundings, keys)?;
    let signature = signer.sign(text);
    if let Some(given) = &keys.check {
        // Of a signature without its key nobody can say that the key is wrong.
        let expected = if given.contains(':') { format!("{}:{signature}", signer.key) } else { signature };
        return tell(surroundings, &expected, &keys.check, &format!("{text:?}"));
    }
    let auth = format!("{}:{signature}", signer.key);
    let Some(more) = more else {
        surroundings.say(auth);
        return Ok(());
    };
    let (mut out, mut first) = (b"{".to_vec(), true);
    for (name, value) in [("auth", auth.as_str())].iter().chain(more) {
        json::comma(&mut out, &mut first);
        json::string(&mut out, name.as_bytes());
        out.push(b':');
        json::string(&mut out, value.as_bytes());
    }
    out.push(b'}');
    surroundings.say(String::from_utf8_lossy(&out));
    Ok(())
}

/// Prints what is expected, or says whether it was given; `what` is what is signed.
fn tell(
    surroundings: &mut Surroundings<'_>,
    expected: &str,
    given: &Option<String>,
    what: &str,
) -> Result<(), String> {
    match given {
        None => surroundings.say(expected),
        Some(given) if same_text(expected, given.trim()) => surroundings.say("OK"),
        Some(_) => return Err(format!("another signature is expected for {what}: {expected}")),
    }
    Ok(())
}

fn api(surroundings: &mut Surroundings<'_>, args: &TokenApiArgs) -> Result<(), String> {
    let signer = Signer::new(surroundings, &args.keys)?;
    let path = match (args.path.strip_prefix('/'), &signer.id) {
        (Some(_), _) => args.path.clone(),
        (None, Some(id)) => format!("/apps/{id}/{}", args.path),
        (None, None) => return Err("a path without /apps/ID needs --app ID".into()),
    };
    if path.contains(['?', '#']) {
        return Err("the path goes up to the question mark: --query takes what follows".into());
    }
    let method = args.method.to_ascii_uppercase();
    let body = body(args.data.as_deref(), args.body.as_deref())?;
    let query = args.query.trim_start_matches('?');
    let query = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("auth_signature="));
    let mut query = query.collect::<Vec<_>>().join("&");
    let has = |query: &str, name: &str| ApiQuery::parse(query).get(name).is_some();
    let mut add = |name: &str, value: String| {
        if !has(&query, name) {
            let and = if query.is_empty() { "" } else { "&" };
            query.push_str(&format!("{and}{name}={value}"));
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    add("auth_key", signer.key.clone());
    add("auth_timestamp", args.timestamp.unwrap_or(now).to_string());
    add("auth_version", "1.0".into());
    if let Some(body) = &body {
        add("body_md5", sign::md5(body).to_string());
    }
    let parsed = ApiQuery::parse(&query);
    if let (Some(body), Some(said)) = (&body, parsed.get("body_md5"))
        && !sign::md5(body).matches(said.as_bytes())
    {
        return Err(format!("the query has body_md5={said}, and that of the body is {}", sign::md5(body)));
    }
    let text = parsed.string_to_sign(&method, &path);
    let signature = signer.sign(&text);
    if args.keys.check.is_some() {
        return tell(surroundings, &signature, &args.keys.check, &format!("{text:?}"));
    }
    let query = utf8_percent_encode(&query, RAW_QUERY);
    if args.only_query {
        surroundings.say(format_args!("{query}&auth_signature={signature}"));
        return Ok(());
    }
    let url = args.url.clone().or_else(|| surroundings.variable("FANWIRE_URL").map(str::to_owned));
    let url = url.unwrap_or_else(|| DEFAULT_URL.into());
    surroundings.say(format_args!("{}{path}?{query}&auth_signature={signature}", url.trim_end_matches('/')));
    Ok(())
}

fn shared_secret(surroundings: &mut Surroundings<'_>, args: &TokenSharedSecretArgs) -> Result<(), String> {
    let key = BASE64_STANDARD.decode(args.master_key.trim()).ok();
    let key: Option<[u8; 32]> = key.and_then(|key| key.try_into().ok());
    let key = key.ok_or("a master key is 32 bytes in Base64 (openssl rand -base64 32 makes one)")?;
    tell(surroundings, &sign::shared_secret(&args.channel, &key), &args.check, "the channel")
}

/// The body, if one is given.
fn body(text: Option<&str>, file: Option<&Path>) -> Result<Option<Vec<u8>>, String> {
    let Some(path) = file else { return Ok(text.map(|text| text.as_bytes().to_vec())) };
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let source: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(io::stdin()),
        _ => Box::new(File::open(path).map_err(failed)?),
    };
    let mut body = Vec::new();
    source.take(CLI_MESSAGE_BYTES as u64 + 1).read_to_end(&mut body).map_err(failed)?;
    match body.len() > CLI_MESSAGE_BYTES {
        true => Err(format!("{}: has more than {CLI_MESSAGE_BYTES} bytes", path.display())),
        false => Ok(Some(body)),
    }
}
