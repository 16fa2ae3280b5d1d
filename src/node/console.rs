//! The live page of development mode: subscribe over each transport, publish, and see what the node does.
//!
//! Three files without anything from elsewhere. The policy lets the page run only its own script, which puts what
//! subscribers receive on the page as text and never as markup.

use super::metrics::VERSION;
use crate::wire::http::response::Response;

const PAGE: &str = include_str!("console/console.html");
const SCRIPT: &str = include_str!("console/console.js");
const STYLE: &str = include_str!("console/console.css");

/// Where the page stands in [`PAGE`] for the version.
const VERSION_MARK: &str = "{{version}}";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The answers, built once.
#[derive(Debug)]
pub struct Console {
    /// `/`
    pub page: Response,
    /// `/console.js`
    pub script: Response,
    /// `/console.css`
    pub style: Response,
}

impl Console {
    /// Builds the answers.
    pub fn new() -> Console {
        let file = |content_type: &str, text: String| {
            Response::new(200)
                .header("Cache-Control", "no-cache")
                .header("X-Content-Type-Options", "nosniff")
                .header("Referrer-Policy", "no-referrer")
                .body(content_type, text)
        };
        let page = file("text/html; charset=utf-8", PAGE.replace(VERSION_MARK, VERSION));
        Console {
            page: page.header("Content-Security-Policy", POLICY),
            script: file("text/javascript; charset=utf-8", SCRIPT.to_owned()),
            style: file("text/css; charset=utf-8", STYLE.to_owned()),
        }
    }
}

impl Default for Console {
    fn default() -> Self {
        Console::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_the_version_and_only_its_own_files() {
        let console = Console::new();
        let page = std::str::from_utf8(console.page.body_bytes()).unwrap();
        assert!(page.contains(VERSION) && !page.contains("{{"));
        for text in [page, SCRIPT, STYLE] {
            assert!(!text.contains("//cdn") && !text.contains("@import") && !text.contains("https://"));
        }
        assert!(page.contains("src=\"/console.js\"") && page.contains("href=\"/console.css\""));
    }

    #[test]
    fn the_policy_would_let_everything_on_the_page_work() {
        // Inline code and styles are refused by the policy, so there must be none.
        for inline in ["<style", " style=", " onclick=", "<script>", "javascript:"] {
            assert!(!PAGE.contains(inline), "{inline}");
        }
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!SCRIPT.contains(sink), "{sink}");
        }
    }
}
