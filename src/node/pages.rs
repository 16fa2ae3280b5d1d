//! Pages of the node itself: health, metrics, and in development mode the console. Every request is shown to
//! [`NodePages`] before any dialect, so what is not a page is told apart by its first bytes.

use super::console::{Console, PageApp};
use super::health::{self, Lifecycle};
use super::metrics::{Format, Metrics};
use super::tls::Tls;
use crate::service::hooks::HooksHandle;
use crate::service::store::StoreHandle;
use crate::service::webhooks::WebhooksHandle;
use crate::shard::Pages;
use crate::shard::counters::NodeCounters;
use crate::wire::http::accept::accepts_contains;
use crate::wire::http::request::{Method, Request};
use crate::wire::http::response::Response;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the pages need to know.
pub struct PagesConfig {
    /// Serve the console at `/`.
    pub development: bool,
    /// The app that the console speaks for.
    pub app: PageApp,
    /// Indices of the internal listeners. If there are any, pages are served there only.
    pub internal_listeners: Vec<u16>,
    /// The shards' figures.
    pub counters: NodeCounters,
    /// The hook service, if it runs.
    pub hooks: Option<HooksHandle>,
    /// The web hook service, if it runs.
    pub webhooks: Option<WebhooksHandle>,
    /// The store, if there is one.
    pub store: Option<StoreHandle>,
    /// Certificates and handshakes.
    pub tls: Option<Arc<Tls>>,
    /// How far the start or the drain of the node is.
    pub lifecycle: Lifecycle,
    /// The monotonic clock, milliseconds, by which shards write `alive_ms`.
    pub clock_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// The node's pages.
pub struct NodePages {
    internal_listeners: Vec<u16>,
    counters: NodeCounters,
    store: Option<StoreHandle>,
    lifecycle: Lifecycle,
    clock_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    metrics: Metrics,
    console: Option<Console>,
}

#[derive(Clone, Copy)]
enum Page {
    Live,
    Ready,
    Metrics,
    Console,
    Script,
    Pusher,
    Style,
}

impl Page {
    /// The page of a request target. No page has a query, but a query does no harm.
    fn find(target: &str) -> Option<Page> {
        // Most targets are a dialect's and leave here.
        if !matches!(target.as_bytes(), [b'/'] | [b'/', b'?' | b'h' | b'm' | b'c', ..]) {
            return None;
        }
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        match path {
            "/" => Some(Page::Console),
            "/health/live" => Some(Page::Live),
            "/health/ready" => Some(Page::Ready),
            "/metrics" => Some(Page::Metrics),
            "/console.js" => Some(Page::Script),
            "/console-pusher.js" => Some(Page::Pusher),
            "/console.css" => Some(Page::Style),
            _ => None,
        }
    }
}

impl NodePages {
    /// Builds the pages. The moment counts as the start of the process.
    pub fn new(config: PagesConfig) -> NodePages {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        NodePages {
            internal_listeners: config.internal_listeners,
            metrics: Metrics::new(
                config.counters.clone(),
                config.hooks,
                config.webhooks,
                config.store.clone(),
                started,
            )
            .with_tls(config.tls, &config.counters),
            counters: config.counters,
            store: config.store,
            lifecycle: config.lifecycle,
            clock_ms: config.clock_ms,
            console: config.development.then(|| Console::new(&config.app)),
        }
    }

    /// Whether pages of the node are served on this listener.
    fn is_watched_on(&self, listener: u16) -> bool {
        self.internal_listeners.is_empty() || self.internal_listeners.contains(&listener)
    }

    fn page(&self, page: Page, request: &Request<'_>) -> Option<Response> {
        let now_ms = || (self.clock_ms)();
        match page {
            Page::Live => Some(health::answer(health::live(&self.counters, now_ms()))),
            Page::Ready => {
                let failed = self.store.as_ref().is_some_and(|store| store.failure().is_some());
                Some(health::answer(health::ready(&self.counters, &self.lifecycle, failed, now_ms())))
            }
            Page::Metrics => Some(self.metrics_page(request)),
            Page::Console => self.console.as_ref().map(|console| console.page.clone()),
            Page::Script => self.console.as_ref().map(|console| console.script.clone()),
            Page::Pusher => self.console.as_ref().map(|console| console.pusher.clone()),
            Page::Style => self.console.as_ref().map(|console| console.style.clone()),
        }
    }

    fn metrics_page(&self, request: &Request<'_>) -> Response {
        let open =
            request.headers.all("accept").any(|v| accepts_contains(v, b"application/openmetrics-text"));
        let format = if open { Format::OpenMetrics } else { Format::Prometheus };
        Response::new(200)
            .header("Cache-Control", "no-store")
            .header("Vary", "Accept")
            .body(format.content_type(), self.metrics.render(format))
    }
}

impl Pages for NodePages {
    fn answer(&self, request: &Request<'_>, listener: u16) -> Option<Response> {
        let page = Page::find(request.target)?;
        let served = match page {
            Page::Live | Page::Ready | Page::Metrics => self.is_watched_on(listener),
            // A WebSocket at `/` is a dialect's.
            Page::Console | Page::Script | Page::Pusher | Page::Style => {
                self.console.is_some() && !request.upgrade_websocket && self.is_watched_on(listener)
            }
        };
        if !served {
            return None;
        }
        match request.method {
            Method::Get | Method::Head => self.page(page, request),
            _ => Some(Response::new(405).header("Allow", "GET, HEAD")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{HttpLimits, SHARD_STALL_MS};
    use crate::shard::net::NetKind;
    use crate::wire::http::request::{Event, Lines, Reader};
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Node {
        pages: NodePages,
        lifecycle: Lifecycle,
        clock_ms: Arc<AtomicU64>,
    }

    fn node(development: bool, internal_listeners: &[u16]) -> Node {
        let counters = NodeCounters::new(1, 0);
        counters.shards[0].set_driver(NetKind::Epoll);
        let (lifecycle, clock_ms) = (Lifecycle::default(), Arc::new(AtomicU64::new(0)));
        let clock = clock_ms.clone();
        let pages = NodePages::new(PagesConfig {
            development,
            app: PageApp::default(),
            internal_listeners: internal_listeners.to_vec(),
            counters,
            hooks: None,
            webhooks: None,
            store: None,
            tls: None,
            lifecycle: lifecycle.clone(),
            clock_ms: Arc::new(move || clock.load(Ordering::Relaxed)),
        });
        Node { pages, lifecycle, clock_ms }
    }

    fn ask(node: &Node, request: &str, listener: u16) -> Option<Response> {
        let (mut input, mut reader) = (format!("{request}\r\n\r\n").into_bytes(), Reader::default());
        let mut lines = Lines::default();
        let step = reader.step(&mut input, &mut lines, &HttpLimits::default()).unwrap();
        let Some(Event::Request(request)) = step.event else { panic!("not a whole request") };
        node.pages.answer(&request, listener)
    }

    fn status(node: &Node, line: &str, listener: u16) -> Option<u16> {
        ask(node, &format!("{line} HTTP/1.1\r\nHost: a"), listener).map(|answer| answer.status())
    }

    fn head(answer: &Response) -> String {
        let mut out = Vec::new();
        answer.head_prefix(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_exact_paths_are_pages() {
        let node = node(true, &[]);
        for path in [
            "/",
            "/?x=1",
            "/health/live",
            "/metrics",
            "/metrics?a",
            "/console.js",
            "/console-pusher.js",
            "/console.css",
        ] {
            assert_eq!(status(&node, &format!("GET {path}"), 0), Some(200), "{path}");
        }
        for path in [
            "/health",
            "/health/",
            "/health/live/",
            "/metrics/",
            "/metric",
            "/m",
            "/h",
            "/c",
            "/Metrics",
            "//",
            "/console",
            "/sub/x",
            "/pub/x",
            "/index.html",
            "/%6detrics",
            "/.",
            "/connect",
        ] {
            assert_eq!(status(&node, &format!("GET {path}"), 0), None, "{path}");
        }
    }

    #[test]
    fn pages_are_only_read() {
        let node = node(true, &[]);
        for path in ["/", "/metrics", "/health/live", "/console.js"] {
            assert_eq!(status(&node, &format!("HEAD {path}"), 0), Some(200));
            for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
                let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0");
                let answer = ask(&node, &request, 0).unwrap();
                assert_eq!(answer.status(), 405, "{method} {path}");
                assert!(head(&answer).contains("Allow: GET, HEAD\r\n"));
            }
        }
    }

    #[test]
    fn internal_listeners_have_health_and_metrics_for_themselves() {
        let node = node(false, &[2, 3]);
        for path in ["/health/live", "/metrics"] {
            assert_eq!(status(&node, &format!("GET {path}"), 2), Some(200));
            assert_eq!(status(&node, &format!("GET {path}"), 3), Some(200));
            assert_eq!(status(&node, &format!("GET {path}"), 0), None);
            assert_eq!(status(&node, &format!("POST {path}"), 0), None);
        }
    }

    #[test]
    fn the_console_is_for_development() {
        for path in ["/", "/console.js", "/console-pusher.js", "/console.css"] {
            assert_eq!(status(&node(false, &[]), &format!("GET {path}"), 0), None);
            assert_eq!(status(&node(true, &[]), &format!("GET {path}"), 0), Some(200));
            assert_eq!(status(&node(true, &[7]), &format!("GET {path}"), 0), None);
            assert_eq!(status(&node(true, &[7]), &format!("GET {path}"), 7), Some(200));
        }
        let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket";
        assert!(ask(&node(true, &[]), upgrade, 0).is_none());
        let page = ask(&node(true, &[]), "GET / HTTP/1.1\r\nHost: a", 0).unwrap();
        let head = head(&page);
        assert!(head.contains("Content-Type: text/html; charset=utf-8\r\n"), "{head}");
        assert!(head.contains("Content-Security-Policy: default-src 'none'; script-src 'self'; "), "{head}");
    }

    #[test]
    fn health_follows_the_node() {
        let node = node(false, &[]);
        assert_eq!(status(&node, "GET /health/ready", 0), Some(503));
        node.lifecycle.running.store(true, Ordering::Relaxed);
        assert_eq!(status(&node, "GET /health/ready", 0), Some(200));
        node.clock_ms.store(SHARD_STALL_MS + 1, Ordering::Relaxed);
        assert_eq!(status(&node, "GET /health/ready", 0), Some(503));
        assert_eq!(status(&node, "GET /health/live", 0), Some(503));
        node.clock_ms.store(0, Ordering::Relaxed);
        node.lifecycle.draining.store(true, Ordering::Relaxed);
        assert_eq!(status(&node, "GET /health/ready", 0), Some(503));
        assert_eq!(status(&node, "GET /health/live", 0), Some(200));
    }

    #[test]
    fn metrics_come_in_the_format_that_was_asked_for() {
        let node = node(false, &[]);
        let old = ask(&node, "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: */*", 0).unwrap();
        assert!(head(&old).contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
        let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1";
        let open = ask(&node, &format!("GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: {accept}"), 0).unwrap();
        assert!(
            head(&open)
                .contains("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n")
        );
        assert!(open.body_bytes().ends_with(b"# EOF\n") && !old.body_bytes().ends_with(b"# EOF\n"));
    }
}
