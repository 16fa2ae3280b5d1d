//! The time of day jumps by hours, both ways.

use crate::frame::{Patient, ask, websocket};
use crate::node::{self, Answer, Http, Stream, fresh};
use fanwire::wire::sign::{hmac_sha256, md5};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

const HOUR_S: i64 = 3_600;
/// How long the node lives with a time before the next jump.
const PAUSE: Duration = Duration::from_millis(400);

const LOCATIONS: &str = r#"
[[location]]
prefix = "/hour/pub/"
methods = "publisher"
message_timeout = "1h"

[[location]]
prefix = "/kept/pub/"
methods = "publisher"
durable = true
message_timeout = "0"

[[location]]
prefix = "/kept/sub/"
methods = "subscriber"

[[location]]
prefix = "/hour/sub/"
methods = "subscriber"
"#;

/// A node's time of day.
struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// Builds what is loaded into the node.
    fn new(name: &str) -> Clock {
        let folder = fresh(&format!("fault-{name}-library"));
        std::fs::create_dir_all(&folder).unwrap();
        let (library, file) = (folder.join("clock.so"), folder.join("offset"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/clock.c");
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
        assert!(built.unwrap().success());
        let clock = Clock { file, library };
        clock.is_off_by(0);
        clock
    }

    fn is_off_by(&self, seconds: i64) {
        use std::io::Write;
        // In place: the node has it mapped.
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&self.file).unwrap();
        file.write_all(&seconds.to_ne_bytes()).unwrap();
    }

    fn rules(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("CLOCK_OFFSET_FILE", &self.file);
    }
}

fn now_s() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64
}

/// Triggers an event as a Pusher back end whose clock says `now_s`.
fn trigger(address: &str, now_s: i64) -> Answer {
    let body = br#"{"name":"e","channel":"c","data":"d"}"#;
    let query =
        format!("auth_key=dev-key&auth_timestamp={now_s}&auth_version=1.0&body_md5={}", md5(body).as_str());
    let signature = hmac_sha256(b"dev-secret", format!("POST\n/apps/1/events\n{query}").as_bytes());
    let path = format!("/apps/1/events?{query}&auth_signature={}", signature.as_str());
    Http::connect(address).unwrap().post(&path, body).unwrap()
}

fn position(answer: &Answer) -> (u64, u64) {
    assert!(matches!(answer.status, 201 | 202), "{answer:?}");
    let id = answer.last_message_id();
    let (time, tag) = id.split_once(':').unwrap();
    (time.parse().unwrap(), tag.parse().unwrap())
}

#[test]
fn nobody_notices_jumps_of_the_clock() {
    let clock = Clock::new("clock");
    let settings = "limits.websocket_ping_interval = \"1s\"\nlimits.websocket_pong_timeout = \"1s\"\n\
        pusher.timestamp_tolerance = \"10m\"";
    let patient = Patient::start_with("clock", settings, LOCATIONS, |command| clock.rules(command));
    let address = patient.address();
    // They are never asked for anything that depends on the time of day.
    let _stream = ask(address, "/hour/sub/quiet", "Accept: text/event-stream\r\n");
    let _pusher = websocket(address, "/app/dev-key?protocol=7&client=test&version=1");
    let mut http = Http::connect(address).unwrap();
    let mut last = position(&http.post("/hour/pub/a", b"0").unwrap());
    let mut published = 1;
    patient.suffers(|patient| {
        let mut http = Http::connect(address).unwrap();
        let mut publish = || http.post("/hour/pub/a", b"x").unwrap();
        publish();
        for hours in [3, -3, 30, 0] {
            clock.is_off_by(hours * HOUR_S);
            thread::sleep(PAUSE);
            publish();
            // The HTTP API goes by the time of day as the protocol asks for it, with the tolerance that is set.
            let here = now_s();
            assert_eq!(trigger(patient.address(), here + hours * HOUR_S).status, 200, "{hours}");
            assert_eq!(trigger(patient.address(), here + hours * HOUR_S - 300).status, 200, "{hours}");
            let refused = trigger(patient.address(), here + hours * HOUR_S + HOUR_S);
            assert!(matches!(refused.status, 401 | 403), "{hours}: {refused:?}");
        }
    });
    published += 2 * 5;
    // Ages are counted by a clock that does not jump: an hour has not gone by.
    let mut stream = Stream::open(address, "/hour/sub/a", None).unwrap();
    let ids: Vec<String> = (0..published).map(|_| stream.next().unwrap().0).collect();
    for id in &ids[1..] {
        let (time, tag) = id.split_once(':').unwrap();
        let next = (time.parse().unwrap(), tag.parse().unwrap());
        assert!(next > last, "{id} after {last:?}");
        last = next;
    }
    assert_eq!(patient.figure("fanwire_connections{carrier=\"stream\"}"), 2.0);
}

#[test]
fn positions_stay_in_order_over_a_restart_with_the_clock_put_back() {
    let clock = Clock::new("clock-back");
    let dir = fresh("fault-clock-back");
    let start = || {
        let mut command = node::command(&dir, "shards = 2", LOCATIONS);
        clock.rules(&mut command);
        node::Node::spawn(&mut command)
    };
    let mut ids = Vec::new();
    for hours in [0, -5, -1, -30] {
        clock.is_off_by(hours * HOUR_S);
        let mut node = start();
        let mut http = Http::connect(&node.address).unwrap();
        for _ in 0..3 {
            ids.push(position(&http.post("/kept/pub/a", b"x").unwrap()));
        }
        let stream = Stream::open(&node.address, "/kept/sub/a", None).unwrap();
        let told: Vec<String> = stream.take(ids.len()).map(|(id, _)| id).collect();
        let wanted: Vec<String> = ids.iter().map(|(time, tag)| format!("{time}:{tag}")).collect();
        assert_eq!(told, wanted);
        node.kill();
    }
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
}
