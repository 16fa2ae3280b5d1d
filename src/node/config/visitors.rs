//! Values that say who may come and who is believed.

use super::value::{Choice, Input, Refusal, Setting, quote_all};
use crate::limits::{NODE_ORIGINS, NODE_TRUSTED_PROXIES};
use crate::wire::http::{forwarded, origin};
use crate::wire::network::TrustedPeers;

/// Networks, addresses and `unix`. An empty list is nobody; not set, programs on this machine are meant.
impl Setting for Option<TrustedPeers> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let elements = input.list();
        if elements.len() > NODE_TRUSTED_PROXIES {
            return input.refuse(format!("needs at most {NODE_TRUSTED_PROXIES} networks"));
        }
        let mut peers = TrustedPeers::default();
        for element in elements {
            peers.add(&element.text()?).or_else(|message| element.refuse(message))?;
        }
        *self = Some(peers);
        Ok(())
    }

    fn show(&self) -> Option<String> {
        self.as_ref().map(|peers| quote_all(peers.texts()))
    }
}

impl Choice for forwarded::Kind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("x-forwarded-for", forwarded::Kind::XForwardedFor),
        ("forwarded", forwarded::Kind::Forwarded),
        ("x-real-ip", forwarded::Kind::XRealIp),
    ];
}

/// Origins of pages.
pub(super) struct Origins<'a>(pub &'a mut Vec<String>);

impl Setting for Origins<'_> {
    fn set(&mut self, input: Input<'_>) -> Result<(), Refusal> {
        let elements = input.list();
        if elements.len() > NODE_ORIGINS {
            return input.refuse(format!("needs at most {NODE_ORIGINS} origins"));
        }
        let mut origins = Vec::with_capacity(elements.len());
        for element in elements {
            let text = element.text()?;
            origin::check(&text).or_else(|message| element.refuse(message))?;
            origins.push(text.into_owned());
        }
        *self.0 = origins;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(quote_all(self.0.iter()))
    }
}
