//! `fanwire token grant` and `fanwire token url`: what grants ask for ([`crate::dialect::grant`]), made and checked; and
//! `fanwire revoke`, which takes it back.

use std::time::{SystemTime, UNIX_EPOCH};

use super::args::{RevokeArgs, TokenGrantArgs, TokenUrlAction, TokenUrlArgs};
use super::{Surroundings, app};
use crate::dialect::grant::{
    Act,
    revoked::{Order, What},
    signed_text,
};
use crate::node::control::Request;
use crate::node::host;
use crate::wire::json;
use crate::wire::pattern::Pattern;
use crate::wire::sign::{hmac_sha256, same_text};
use crate::wire::{claims::Claims, token};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Random bytes of the id of a token that is not given one; each is two hex digits.
const ID_BYTES: usize = 8;

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Seconds of `90`, `90s`, `15m`, `1h` or `7d`.
fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(24 * 3600),
        _ => None,
    };
    let number = digits.parse().ok();
    let seconds = number.zip(unit).and_then(|(number, unit): (u64, u64)| number.checked_mul(unit));
    seconds.ok_or_else(|| format!("a duration is a number with s, m, h or d, not `{}`", text.escape_debug()))
}

/// Id and secret of the app that signs.
fn signer(
    surroundings: &mut Surroundings<'_>,
    keys: &super::args::TokenKeyArgs,
) -> Result<(Option<String>, String), String> {
    if let Some(secret) = &keys.secret {
        return Ok((keys.app.clone(), secret.clone()));
    }
    let app = app::find(surroundings, &keys.config, keys.app.as_deref())?;
    Ok((Some(app.id), app.secret))
}

/// Makes a token, or says what one says.
pub(super) fn grant(surroundings: &mut Surroundings<'_>, args: &TokenGrantArgs) -> Result<(), String> {
    let (_, secret) = signer(surroundings, &args.keys)?;
    if let Some(given) = &args.keys.check {
        return check(surroundings, &secret, given.trim());
    }
    for pattern in args.subscribe.iter().chain(&args.publish).chain(&args.channel) {
        Pattern::parse(pattern).map_err(|bad| format!("`{}`: {bad}", pattern.escape_debug()))?;
    }
    if args.subscribe.is_empty() && args.publish.is_empty() && args.channel.is_empty() {
        return Err("a token is for some channels: --subscribe, --publish or --channel name them".into());
    }
    let now_s = args.at.unwrap_or_else(now_s);
    let expires_s = now_s.saturating_add(seconds(&args.expires)?);
    let id = match &args.id {
        Some(id) => id.clone(),
        None => {
            let mut bytes = [0; ID_BYTES];
            host::random(&mut bytes).map_err(|error| format!("no randomness: {error}"))?;
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        }
    };
    let mut claims = format!("{{\"exp\":{expires_s},\"iat\":{now_s},\"jti\":").into_bytes();
    json::string(&mut claims, id.as_bytes());
    if let Some(user) = &args.user {
        claims.extend_from_slice(b",\"sub\":");
        json::string(&mut claims, user.as_bytes());
    }
    let lists = [("subscribe", &args.subscribe), ("publish", &args.publish), ("channels", &args.channel)];
    for (name, patterns) in lists.into_iter().filter(|(_, patterns)| !patterns.is_empty()) {
        claims.extend_from_slice(format!(",\"{name}\":[").as_bytes());
        let mut first = true;
        for pattern in patterns {
            json::comma(&mut claims, &mut first);
            json::string(&mut claims, pattern.as_bytes());
        }
        claims.push(b']');
    }
    claims.push(b'}');
    Claims::read(&claims)
        .and_then(|read| read.hold(now_s * 1000, 0))
        .map_err(|bad| format!("no node would take it: {bad}"))?;
    surroundings.say(token::sign(secret.as_bytes(), &claims));
    Ok(())
}

fn check(surroundings: &mut Surroundings<'_>, secret: &str, given: &str) -> Result<(), String> {
    let claims = token::verify(secret.as_bytes(), given).map_err(|bad| bad.to_string())?;
    let held = claims.hold(now_s().saturating_mul(1000), 0);
    let payload = given.split('.').nth(1).unwrap_or_default();
    let text = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, payload);
    surroundings.say(String::from_utf8_lossy(&text.unwrap_or_default()));
    held.map_err(|bad| bad.to_string())
}

/// Signs what stands in a query, or says whether the signature is right.
pub(super) fn url(surroundings: &mut Surroundings<'_>, args: &TokenUrlArgs) -> Result<(), String> {
    let (id, secret) = signer(surroundings, &args.keys)?;
    let id = id.ok_or("what is signed names the app: --app ID")?;
    let expires = args.until.unwrap_or(now_s().saturating_add(seconds(&args.expires)?)).to_string();
    let act = match args.action {
        TokenUrlAction::Subscribe => Act::Subscribe,
        TokenUrlAction::Publish => Act::Publish,
    };
    let channels: Vec<&[u8]> = args.channels.iter().map(|name| name.as_bytes()).collect();
    let user = args.user.as_deref().unwrap_or_default();
    let text = signed_text(act, &id, &expires, user, &channels);
    let text = text.ok_or("what has a line break cannot be signed")?;
    let signature = hmac_sha256(secret.as_bytes(), &text);
    match &args.keys.check {
        Some(given) if same_text(signature.as_str(), given.trim()) => surroundings.say("OK"),
        Some(_) => {
            let text = String::from_utf8_lossy(&text).into_owned();
            return Err(format!("another signature is expected for {text:?}: {signature}"));
        }
        None => {
            let user = args
                .user
                .as_ref()
                .map(|user| format!("&user={}", utf8_percent_encode(user, NON_ALPHANUMERIC)));
            let user = user.unwrap_or_default();
            surroundings.say(format_args!("expires={expires}{user}&signature={signature}"));
        }
    }
    Ok(())
}

/// `fanwire revoke`.
pub(super) fn revoke(surroundings: &mut Surroundings<'_>, args: &RevokeArgs) -> Result<(), String> {
    let (what, id) = match (&args.user, &args.token) {
        (Some(user), None) => (What::User, user.clone()),
        (None, Some(token)) => (What::Token, token.clone()),
        _ => return Err("say --user or --token".into()),
    };
    let config = app::load(surroundings, &args.place)?;
    let app = args.app.clone();
    app::ask(surroundings, &config, &Request::Revoke(Order { app, what, id: id.clone() }))?;
    surroundings.say(format_args!("revoked {} {id}", what.name()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(
            ["90", "90s", "15m", "1h", "7d"].map(|text| seconds(text).unwrap()),
            [90, 90, 900, 3600, 604_800]
        );
        for wrong in ["", "h", "1w", "-1s", "1.5h", "99999999999999999d", "1 h"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
