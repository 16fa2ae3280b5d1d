//! The live page of development mode: subscribe over each transport and dialect, publish, and see what the node does.
//!
//! Four files without anything from elsewhere. The policy lets the page run only its own script, which puts what
//! subscribers receive on the page as text and never as markup.

use super::config::{AppSettings, DEVELOPMENT_SECRET};
use super::metrics::VERSION;
use crate::wire::http::response::Response;
use std::fmt;

const PAGE: &str = include_str!("console/console.html");
const SCRIPT: &str = include_str!("console/console.js");
const PUSHER: &str = include_str!("console/pusher.js");
const STYLE: &str = include_str!("console/console.css");

/// Where the page stands in [`PAGE`] for the version.
const VERSION_MARK: &str = "{{version}}";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The app that the page speaks for. `Debug` leaves the secret out.
#[derive(Clone, Default)]
pub struct PageApp {
    /// Its id.
    pub id: String,
    /// What clients name it by.
    pub key: String,
    /// What the page signs with. Everybody who opens the page can read it, so it is empty unless everybody knows it.
    pub secret: String,
}

impl PageApp {
    /// The app as the page may know it.
    pub fn of(app: &AppSettings) -> PageApp {
        let known = app.secret == DEVELOPMENT_SECRET;
        let secret = if known { app.secret.clone() } else { String::new() };
        PageApp { id: app.id.clone(), key: app.key.clone(), secret }
    }
}

impl fmt::Debug for PageApp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PageApp").field("id", &self.id).field("key", &self.key).finish_non_exhaustive()
    }
}

/// The answers, built once.
#[derive(Debug)]
pub struct Console {
    /// `/`
    pub page: Response,
    /// `/console.js`
    pub script: Response,
    /// `/console-pusher.js`
    pub pusher: Response,
    /// `/console.css`
    pub style: Response,
}

impl Console {
    /// Builds the answers. Without an app the page knows nothing of Pusher.
    pub fn new(app: &PageApp) -> Console {
        let file = |content_type: &str, text: String| {
            Response::new(200)
                .header("Cache-Control", "no-cache")
                .header("X-Content-Type-Options", "nosniff")
                .header("Referrer-Policy", "no-referrer")
                .body(content_type, text)
        };
        let text = PAGE.replace(VERSION_MARK, VERSION);
        let marks = [("{{app_id}}", &app.id), ("{{app_key}}", &app.key), ("{{app_secret}}", &app.secret)];
        let text = marks.iter().fold(text, |text, (mark, word)| text.replace(mark, &attribute(word)));
        let page = file("text/html; charset=utf-8", text);
        Console {
            page: page.header("Content-Security-Policy", POLICY),
            script: file("text/javascript; charset=utf-8", SCRIPT.to_owned()),
            pusher: file("text/javascript; charset=utf-8", PUSHER.to_owned()),
            style: file("text/css; charset=utf-8", STYLE.to_owned()),
        }
    }
}

/// A word as it may stand in the quotes of an attribute; a mark in it would be replaced in its turn.
fn attribute(word: &str) -> String {
    let escape = |out: String, c| match c {
        '&' | '<' | '>' | '"' | '\'' | '{' => format!("{out}&#{};", u32::from(c)),
        c => out + c.encode_utf8(&mut [0; 4]),
    };
    word.chars().fold(String::new(), escape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::config::development_app;

    #[test]
    fn the_page_names_the_version_and_only_its_own_files() {
        let console = Console::new(&PageApp::default());
        let page = std::str::from_utf8(console.page.body_bytes()).unwrap();
        assert!(page.contains(VERSION) && !page.contains("{{"));
        for text in [page, SCRIPT, PUSHER, STYLE] {
            assert!(!text.contains("//cdn") && !text.contains("@import") && !text.contains("https://"));
        }
        assert!(page.contains("src=\"/console.js\"") && page.contains("href=\"/console.css\""));
    }

    #[test]
    fn only_a_secret_that_everybody_knows_is_on_the_page() {
        let text = |app: &AppSettings| {
            let console = Console::new(&PageApp::of(app));
            std::str::from_utf8(console.page.body_bytes()).unwrap().to_owned()
        };
        let page = text(&development_app());
        assert!(page.contains(r#"data-app-key="dev-key" data-app-secret="dev-secret""#));
        let page = text(&AppSettings::new("<\"a", "k&{{app_secret}}", "hush"));
        assert!(!page.contains("hush") && page.contains(r#"data-app-secret="""#));
        assert!(page.contains(r#"data-app-id="&#60;&#34;a" data-app-key="k&#38;&#123;&#123;app_secret}}""#));
    }

    #[test]
    fn the_policy_would_let_everything_on_the_page_work() {
        // Inline code and styles are refused by the policy, so there must be none.
        for inline in ["<style", " style=", " onclick=", "<script>", "javascript:"] {
            assert!(!PAGE.contains(inline), "{inline}");
        }
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!SCRIPT.contains(sink) && !PUSHER.contains(sink), "{sink}");
        }
    }
}
