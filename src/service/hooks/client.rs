//! One HTTP exchange with a back end, over an idle connection or a new one.

use std::future::Future;
use std::io;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use super::backend::BackEnd;
use super::counters::HookCounters;
use super::spelling::{Names, Spelling};
use super::trust::Trust;
use crate::channel::hook::{
    HookAnswer, HookCall, HookFailure, HookMethod, HookTarget, connection_lists, is_hop_by_hop,
};
use crate::limits::HookLimits;

/// Read buffer of the HTTP client, bytes; it refuses smaller ones.
const READ_BUFFER_BYTES: usize = 8 * 1024;

/// A failure with what is known of its cause.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) failure: HookFailure,
    pub(super) cause: String,
    /// There was no connection, so the back end has seen nothing of the call.
    pub(super) unconnected: bool,
}

impl Trouble {
    pub(super) fn new(failure: HookFailure, cause: impl ToString) -> Trouble {
        Trouble { failure, cause: cause.to_string(), unconnected: false }
    }
}

/// An open connection. Dropping it closes it.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    names: Names,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Whether it is open and has no call under way.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A call as it goes on the wire.
pub(super) struct Prepared {
    request: Request<Full<Bytes>>,
    /// Names of its header lines as spelled.
    names: Vec<Bytes>,
    /// Whether anybody wants the answer.
    answer: bool,
}

impl Prepared {
    /// Makes the request of a call, without what belongs to the client's own connection.
    pub(super) fn new(call: &HookCall, target: &HookTarget) -> Result<Prepared, Trouble> {
        let bad = |cause: &str| Trouble::new(HookFailure::BadCall, cause);
        let connection: Vec<&Bytes> = call
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(b"connection"))
            .map(|(_, v)| v)
            .collect();
        let mut headers = HeaderMap::with_capacity(call.headers.len() + 2);
        let mut names = Vec::with_capacity(call.headers.len() + 2);
        for (name, value) in &call.headers {
            if is_hop_by_hop(name) || connection.iter().any(|v| connection_lists(v, name)) {
                continue;
            }
            let key = HeaderName::from_bytes(name).map_err(|_| bad("header name"))?;
            let value = HeaderValue::from_bytes(value).map_err(|_| bad("header value"))?;
            if key == HOST && headers.contains_key(HOST) {
                return Err(bad("two Host headers"));
            }
            headers.try_append(key, value).map_err(|_| bad("too many headers"))?;
            names.push(name.clone());
        }
        if !headers.contains_key(HOST) {
            let host = HeaderValue::from_str(target.authority).map_err(|_| bad("authority"))?;
            headers.insert(HOST, host);
            names.push(Bytes::from_static(b"Host"));
        }
        let method = match call.method {
            HookMethod::Get => Method::GET,
            HookMethod::Post => Method::POST,
        };
        if method == Method::POST || !call.body.is_empty() {
            headers.insert(CONTENT_LENGTH, call.body.len().into());
            names.push(Bytes::from_static(b"Content-Length"));
        }
        let uri: Uri = target.path_and_query().parse().map_err(|_| bad("path or query"))?;
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(Prepared { request, names, answer: call.answer })
    }
}

/// Makes the call and reads its answer; without `answer` in the call what it returns is empty. The caller sets
/// the time limit by dropping this, which closes the connection.
///
/// A connection that the back end closed while it was idle is replaced as long as no byte of the call went out.
pub(super) async fn exchange(
    backend: &BackEnd,
    limits: &HookLimits,
    counters: &HookCounters,
    call: Prepared,
) -> Result<HookAnswer, Trouble> {
    let Prepared { mut request, names, answer } = call;
    loop {
        let (mut connection, reused) = match backend.take_idle(Instant::now()) {
            Some(connection) => (connection, true),
            None => (connect(backend, limits, counters).await?, false),
        };
        connection.names.set(names.clone());
        let response = match connection.sender.try_send_request(request).await {
            Ok(response) => response,
            Err(mut e) => match e.take_message() {
                Some(unsent) if reused => {
                    request = unsent;
                    continue;
                }
                _ => return Err(answer_trouble(e.into_error())),
            },
        };
        let (answer, whole) = read_answer(response, limits, answer).await?;
        if whole {
            // One turn for the connection's task to see that the exchange is over.
            tokio::task::yield_now().await;
            if connection.is_ready() {
                backend.keep_idle(connection, Instant::now());
            }
        }
        return Ok(answer);
    }
}

async fn connect(
    backend: &BackEnd,
    limits: &HookLimits,
    counters: &HookCounters,
) -> Result<Connection, Trouble> {
    let unconnected =
        |cause: io::Error| Trouble { unconnected: true, ..Trouble::new(HookFailure::Unreachable, cause) };
    let limit = Duration::from_millis(limits.connect_ms.into());
    let stream = connect_tcp(backend, limit).await.map_err(unconnected)?;
    let stream: Box<dyn Socket> = match &backend.trust {
        None => Box::new(stream),
        Some(trust) => Box::new(secure(trust, &backend.host, stream, limit).await.map_err(unconnected)?),
    };
    counters.connected();
    let names = Names::default();
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(limits.answer_head_bytes.max(READ_BUFFER_BYTES))
        .max_header_size(limits.answer_head_bytes)
        .max_headers(limits.answer_headers)
        // Head and body in one write.
        .writev(false)
        .handshake(Spelling::new(TokioIo::new(stream), names.clone()))
        .await
        .map_err(|e| Trouble::new(HookFailure::Unreachable, e))?;
    // What ends a connection is told to the call on it.
    let driver = tokio::spawn(async move { drop(connection.await) });
    let ready = sender.ready().await;
    let connection = Connection { sender, names, driver };
    ready.map(|()| connection).map_err(|e| Trouble::new(HookFailure::Unreachable, e))
}

/// What an exchange needs of a socket, with TLS or without.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// The TLS handshake: the back end has to show a certificate for its host that somebody we trust vouches for.
async fn secure(
    trust: &Trust,
    host: &str,
    stream: TcpStream,
    limit: Duration,
) -> io::Result<TlsStream<TcpStream>> {
    let (connector, name) = trust.connector(host)?;
    let handshake = timeout(limit, connector.connect(name, stream));
    handshake.await.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "TLS handshake"))?
}

/// Connects to the first of the host's addresses that takes it.
async fn connect_tcp(backend: &BackEnd, limit: Duration) -> io::Result<TcpStream> {
    let in_time = || io::Error::from(io::ErrorKind::TimedOut);
    let addresses = timeout(limit, tokio::net::lookup_host((backend.host.as_str(), backend.port)))
        .await
        .ok_or_else(in_time)??;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in addresses {
        match timeout(limit, TcpStream::connect(address)).await {
            Some(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Some(Err(e)) => last = e,
            None => last = in_time(),
        }
    }
    Err(last)
}

async fn timeout<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, work).await.ok()
}

/// Reads an answer; the flag says whether it was read to its end.
async fn read_answer(
    response: Response<Incoming>,
    limits: &HookLimits,
    wanted: bool,
) -> Result<(HookAnswer, bool), Trouble> {
    let status = response.status().as_u16();
    if status < 200 {
        return Err(Trouble::new(HookFailure::BadAnswer, "the back end wants another protocol"));
    }
    let (head, mut body) = response.into_parts();
    let mut whole = true;
    let mut collected = Bytes::new();
    let mut rest = BytesMut::new();
    let mut len = 0usize;
    if body.size_hint().lower() > limits.answer_body_bytes as u64 {
        whole = false;
    }
    while whole && let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|e| answer_trouble_in_body(&e))?.into_data() else { continue };
        len += data.len();
        if len > limits.answer_body_bytes {
            whole = false;
        } else if wanted && collected.is_empty() {
            collected = data;
        } else if wanted {
            rest.extend_from_slice(&data);
        }
    }
    if !whole && wanted {
        return Err(Trouble::new(HookFailure::TooLarge, format!("over {} bytes", limits.answer_body_bytes)));
    }
    if !wanted {
        return Ok((HookAnswer { status, headers: Vec::new(), body: Bytes::new() }, whole));
    }
    if !rest.is_empty() {
        let mut all = BytesMut::with_capacity(len);
        all.extend_from_slice(&collected);
        all.extend_from_slice(&rest);
        collected = all.freeze();
    }
    Ok((HookAnswer { status, headers: answer_headers(&head.headers), body: collected }, whole))
}

/// Header lines that are about the answer, not about the connection it came on.
fn answer_headers(headers: &HeaderMap) -> Vec<(Bytes, Bytes)> {
    let listed = |name: &HeaderName| {
        headers.get_all(CONNECTION).iter().any(|v| connection_lists(v.as_bytes(), name.as_str().as_bytes()))
    };
    headers
        .iter()
        .filter(|(name, _)| !is_hop_by_hop(name.as_str().as_bytes()) && !listed(name))
        .map(|(name, value)| {
            (Bytes::copy_from_slice(name.as_str().as_bytes()), Bytes::copy_from_slice(value.as_bytes()))
        })
        .collect()
}

fn answer_trouble(e: hyper::Error) -> Trouble {
    let failure = if e.is_parse_too_large() {
        HookFailure::TooLarge
    } else if e.is_parse() {
        HookFailure::BadAnswer
    } else {
        HookFailure::Unreachable
    };
    Trouble::new(failure, causes(&e))
}

fn answer_trouble_in_body(e: &hyper::Error) -> Trouble {
    Trouble::new(HookFailure::BadAnswer, causes(e))
}

/// An error with those below it.
fn causes(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut below = e.source();
    while let Some(e) = below {
        text.push_str(": ");
        text.push_str(&e.to_string());
        below = e.source();
    }
    text
}
