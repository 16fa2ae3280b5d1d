//! Back ends of a [`World`] that somebody waits for.

use fanwire::channel::hook::{HookAnswer, HookCall, HookFailure};

use super::World;

/// A call that is under way.
pub struct Asked {
    pub number: usize,
    pub exchange: u16,
    pub tag: u16,
    pub call: HookCall,
}

impl World {
    /// A session has a call made.
    pub(super) fn hook(&mut self, number: usize, tag: Option<u16>, call: HookCall) {
        let exchange = self.connections[number].exchange;
        match tag {
            None => self.hooks.push(call),
            Some(tag) => self.asked.push_back(Asked { number, exchange, tag, call }),
        }
    }

    /// The oldest call is answered, if there is one. What it asked for goes on where its client is still there.
    #[allow(dead_code)] // not every target has back ends
    pub fn answer_hook(&mut self, answer: Result<HookAnswer, HookFailure>) -> Option<HookCall> {
        let Asked { number, exchange, tag, call } = self.asked.pop_front()?;
        if self.connections[number].exchange == exchange {
            self.with(number, |dialects, cx, session| dialects.on_hook(cx, session, tag, answer));
        }
        Some(call)
    }
}
