//! Nobody who publishes notices that a new process takes over, and who subscribes with a position loses nothing.

use crate::node::{Http, Stream};
use crate::support::{Local, Service, eventually, is_running, once};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

const SETTINGS: &str = "drain = \"500ms\"\nlog = \"info\"";

/// Publishes until told to stop, and counts.
struct Publisher {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Publisher {
    /// `publish` is given the text of each message and returns the status of the answer.
    fn start(
        name: &'static str,
        mut publish: impl FnMut(&str) -> std::io::Result<u16> + Send + 'static,
    ) -> Publisher {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), count.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let n = counted.load(Ordering::Relaxed);
                let status = publish(&format!("{name}.{n}"));
                assert!(matches!(status, Ok(201 | 202)), "{name}: publish {n} was refused: {status:?}");
                counted.store(n + 1, Ordering::Relaxed);
            }
        });
        Publisher { stop, count, thread }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until it has published so many more.
    fn goes_on(&self, more: u64) {
        let from = self.count();
        eventually("publishers go on", || {
            (self.count() >= from + more || self.thread.is_finished()).then_some(())
        });
    }

    fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.count.load(Ordering::Relaxed)
    }
}

/// Reads a channel from its beginning, comes back with its position whenever its stream ends.
fn read_all(address: &str, path: &str, seen: &Mutex<Vec<String>>, stop: &AtomicBool) -> u32 {
    let (mut last, mut streams) = (None::<String>, 0);
    while !stop.load(Ordering::Relaxed) {
        let stream = Stream::open(address, path, last.as_deref()).unwrap();
        streams += 1;
        for (id, text) in stream {
            seen.lock().unwrap().push(text);
            last = Some(id);
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    streams
}

#[test]
fn three_upgrades_at_full_speed_refuse_and_lose_nothing() {
    let dir = crate::node::fresh("upgrades");
    let (data, socket) = (dir.join("data"), dir.join("s"));
    let settings = |shards: u32| {
        format!(
            "listen = [\"127.0.0.1:0\", \"unix:{}\"]\nshards = {shards}\n{SETTINGS}\nstore = {{ data = {:?} }}",
            socket.display(),
            data
        )
    };
    let mut service = Service::start("upgrades", &settings(2));
    let address = service.address.clone();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (address, seen, stop) = (address.clone(), seen.clone(), stop.clone());
        // The first message has to be there: an unknown channel has no position to begin at.
        assert!(matches!(once(&address, "POST", "/pub/c", b"first.0").unwrap().0, 201 | 202));
        thread::spawn(move || read_all(&address, "/sub/c", &seen, &stop))
    };
    eventually("the first message", || (!seen.lock().unwrap().is_empty()).then_some(()));
    let before = service.descriptors();
    let mut kept = Http::connect(&address).unwrap();
    let mut pieces = TcpStream::connect(&address).unwrap();
    let mut local = Local::connect(&socket);
    let fresh = address.clone();
    let publishers = [
        Publisher::start("kept", move |text| Ok(kept.post("/pub/c", text.as_bytes())?.status)),
        Publisher::start("fresh", move |text| Ok(once(&fresh, "POST", "/pub/c", text.as_bytes())?.0)),
        Publisher::start("local", move |text| local.post("/pub/c", text)),
        // Some of these are read in part when the process changes.
        Publisher::start("pieces", move |text| {
            pieces.write_all(b"POST /pub/c HTTP/1.1\r\nHost: a\r\nConte")?;
            thread::yield_now();
            pieces.write_all(format!("nt-Length: {}\r\n\r\n{}", text.len(), &text[..3]).as_bytes())?;
            thread::yield_now();
            pieces.write_all(&text.as_bytes()[3..])?;
            let mut answer = [0; 4096];
            let mut len = 0;
            while !answer[..len].windows(4).any(|end| end == b"\r\n\r\n") {
                match pieces.read(&mut answer[len..])? {
                    0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                    more => len += more,
                }
            }
            // The body of the answer comes with its head, and is of no interest.
            Ok(std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap())
        }),
    ];
    let mut old = Vec::new();
    for shards in [3, 1, 2] {
        publishers.iter().for_each(|publisher| publisher.goes_on(50));
        service.configure(&settings(shards));
        old.push(service.upgrade());
    }
    publishers.iter().for_each(|publisher| publisher.goes_on(50));
    let counts: Vec<u64> = publishers.into_iter().map(Publisher::finish).collect();
    assert!(service.ended().success(), "{}", service.stderr());
    eventually("the old processes are gone", || old.iter().all(|&pid| !is_running(pid)).then_some(()));
    let total = counts.iter().sum::<u64>() + 1;
    eventually("every message", || (seen.lock().unwrap().len() as u64 >= total).then_some(()));
    stop.store(true, Ordering::Relaxed);
    assert!(matches!(once(&address, "POST", "/pub/c", b"last.0").unwrap().0, 201 | 202));
    let streams = reader.join().unwrap();
    let mut by_name: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for text in seen.lock().unwrap().iter() {
        let (name, n) = text.split_once('.').unwrap();
        by_name.entry(name.to_owned()).or_default().push(n.parse().unwrap());
    }
    for (name, count) in ["kept", "fresh", "local", "pieces"].into_iter().zip(&counts) {
        assert!(by_name[name].iter().copied().eq(0..*count), "{name}: lost, doubled or out of order");
    }
    println!("{counts:?} published, {streams} streams");
    assert!(streams >= 4, "{streams} streams");
    // The last process is like the first one once everybody has left.
    eventually("descriptors as before", || (service.descriptors() <= before).then_some(()));
    assert!(socket.exists(), "an old process has removed the socket of the new one");
    service.signal("TERM");
    service.expect_state("STOPPING=1");
    eventually("the last process is gone", || (!is_running(service.pid)).then_some(()));
    let log = service.stderr();
    assert!(!log.contains("panicked") && !log.contains("store_stopped"), "{log}");
    assert!(!socket.exists());
}

#[test]
fn in_memory_publishers_are_not_refused_either() {
    let mut service = Service::start("upgrade-memory", &format!("shards = 2\n{SETTINGS}"));
    let address = service.address.clone();
    let mut kept = Http::connect(&address).unwrap();
    let publishers = [
        Publisher::start("kept", move |text| Ok(kept.post("/mem/c", text.as_bytes())?.status)),
        Publisher::start("fresh", move |text| Ok(once(&address, "POST", "/mem/c", text.as_bytes())?.0)),
    ];
    publishers.iter().for_each(|publisher| publisher.goes_on(50));
    service.upgrade();
    publishers.iter().for_each(|publisher| publisher.goes_on(50));
    assert!(service.ended().success(), "{}", service.stderr());
    publishers.into_iter().for_each(|publisher| assert!(publisher.finish() >= 100));
}

#[test]
fn a_new_process_that_does_not_start_leaves_the_old_one_as_it_was() {
    let data = crate::node::fresh("upgrade-fails-data");
    let settings = format!("shards = 2\n{SETTINGS}\nstore = {{ data = {data:?} }}");
    let mut service = Service::start("upgrade-fails", &settings);
    let address = service.address.clone();
    let mut kept = Http::connect(&address).unwrap();
    assert!(matches!(kept.post("/pub/c", b"0").unwrap().status, 201 | 202));
    let before = service.descriptors();
    let cases = [
        (
            "a mistake in the configuration",
            format!("{settings}\nnonsense = 1"),
            "the new process has ended: exit status: 1",
        ),
        // It fails only once the store is closed here.
        (
            "a store that is none",
            settings.replace("fails-data", "fails-data/store.db"),
            "cannot open the store",
        ),
        (
            "an address it may not have",
            format!("internal_listen = [\"unix:/nowhere/at/all\"]\n{settings}"),
            "cannot listen on unix:/nowhere/at/all",
        ),
    ];
    for (n, (what, settings, why)) in cases.iter().enumerate() {
        service.configure(settings);
        service.signal("USR2");
        assert!(service.state().starts_with("RELOADING=1\n"));
        service.expect_state("READY=1");
        service.logs(why);
        for http in [&mut kept, &mut Http::connect(&address).unwrap()] {
            let status = http.post("/pub/c", format!("{n}").as_bytes()).unwrap().status;
            assert!(matches!(status, 201 | 202), "{what}: {status}");
        }
    }
    eventually("descriptors as before", || (service.descriptors() <= before).then_some(()));
    service.configure(&settings);
    service.upgrade();
    assert!(matches!(kept.post("/pub/c", b"after").unwrap().status, 201 | 202));
    assert!(service.ended().success());
}

#[test]
fn a_new_process_that_takes_too_long_is_given_up() {
    let settings = format!("shards = 1\nupgrade_timeout = \"1ms\"\n{SETTINGS}");
    let mut service = Service::start("upgrade-late", &settings);
    service.signal("USR2");
    assert!(service.state().starts_with("RELOADING=1\n"));
    service.expect_state("READY=1");
    service.logs("not ready in time");
    assert!(matches!(once(&service.address, "POST", "/mem/c", b"x").unwrap().0, 201 | 202));
    service.signal("TERM");
    service.expect_state("STOPPING=1");
    assert!(service.ended().success());
}
