//! Members who come and go all at once, and what each of them is told meanwhile. Who is told what when depends on the
//! order in which the server takes them; what each must know in the end does not.

use super::super::line::Line;
use super::told::{Known, Reader, Told, info, user_id};
use crate::client::source_address;
use crate::frame::{self, Kind};
use crate::round::{Round, Stopwatch};
use crate::stats::Latencies;
use crate::sys::{self, Epoll, Received};
use crate::watchdog;
use crate::wire::pusher::{PONG, channel_auth, json_string};
use crate::wire::{App, Dialect, Wire};
use serde_json::json;
use std::net::{SocketAddrV4, TcpStream};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Nothing coming in for so long is a failure.
const STALL_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 20 });
/// Bytes taken per read.
const READ_BYTES: usize = 256 * 1024;
/// Longest text accepted from the server, bytes: a list of the members of a large channel.
const TEXT_BYTES: usize = 32 << 20;
/// Descriptors told per epoll wait.
const EPOLL_BATCH: usize = 1024;
/// A buffer above this is given back once it is empty, bytes.
const KEPT_BYTES: usize = 64 * 1024;
/// Of so many members one looks at what the members of its list say of themselves, and not only at who they are.
const WHOLE_EVERY: usize = 64;
/// Of so many members of a room one stays, and checks that it is told of all who go.
const STAYS_EVERY: usize = 10;

/// Shape of the load.
#[derive(Clone, Debug)]
pub struct StormShape {
    /// Members of all rooms.
    pub members: usize,
    /// Channels they are spread over evenly.
    pub rooms: usize,
    /// Members who come over a second connection too.
    pub guests: usize,
    /// Who comes waits for its list; so many do at any time.
    pub concurrency: usize,
    /// Keys.
    pub app: App,
    /// Rooms are called CHANNEL-0, CHANNEL-1 ..
    pub channel: String,
    /// Source addresses used.
    pub sources: usize,
}

/// What a phase brought.
#[derive(Debug, Default)]
pub struct Phase {
    /// Members who came or went.
    pub members: u64,
    /// From the first request until everybody knew.
    pub wall_ns: u64,
    /// Share of that time in which the client's thread ran or wanted to.
    pub client_share: f64,
    /// Join: from the request to the list. Leave: until the last who stays was told.
    pub latencies: Latencies,
    /// Announcements that came in.
    pub announcements: u64,
    /// Bytes that came in.
    pub bytes: u64,
    /// Lists that came in, and their bytes.
    pub lists: (u64, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Out,
    /// It has asked to come.
    Asked,
    In,
    /// It has gone, and what still comes is no matter.
    Gone,
}

struct Seat {
    stream: Option<TcpStream>,
    held: Vec<u8>,
    room: usize,
    number: usize,
    state: State,
    known: Known,
    /// Knows what it must in the end of the phase.
    done: bool,
    /// Its request to come, as a frame.
    request: Vec<u8>,
    asked_at: Instant,
}

struct Room {
    channel: String,
    reader: Reader,
    asked: Known,
    leaving: Known,
    /// How many of those who stay were told that this one has gone, and when it went.
    told: Vec<(usize, Instant)>,
}

/// See the module.
pub struct Crowd {
    target: SocketAddrV4,
    shape: StormShape,
    path: String,
    /// Members first, then guests.
    seats: Vec<Seat>,
    rooms: Vec<Room>,
    epoll: Epoll,
    tags: Vec<u64>,
    buffer: Vec<u8>,
    /// Members a seat must know in the end of the phase.
    goal: usize,
    /// Seats that do.
    done: usize,
}

impl StormShape {
    /// Members of one room.
    pub fn room_size(&self) -> usize {
        self.members / self.rooms
    }

    /// Members of a room who stay when the others go.
    pub fn stayers(&self) -> usize {
        (self.room_size() / STAYS_EVERY).max(1)
    }
}

impl Crowd {
    /// A crowd of which nobody is connected.
    pub fn new(target: SocketAddrV4, shape: StormShape) -> Result<Crowd, String> {
        let now = Instant::now();
        let seat = |index: usize| Seat {
            stream: None,
            held: Vec::new(),
            room: index % shape.rooms,
            number: index / shape.rooms,
            state: State::Out,
            known: Known::default(),
            done: false,
            request: Vec::new(),
            asked_at: now,
        };
        let room = |index: usize| {
            let channel = format!("{}-{index}", shape.channel);
            Room {
                reader: Reader::new(&channel),
                channel,
                asked: Known::default(),
                leaving: Known::default(),
                told: vec![(0, now); shape.room_size()],
            }
        };
        Ok(Crowd {
            target,
            path: Wire::of(Dialect::Pusher, "", &shape.app).path,
            seats: (0..shape.members).chain(0..shape.guests).map(seat).collect(),
            rooms: (0..shape.rooms).map(room).collect(),
            epoll: Epoll::new(EPOLL_BATCH).map_err(|e| format!("epoll: {e}"))?,
            tags: Vec::new(),
            buffer: vec![0; READ_BYTES],
            goal: 0,
            done: 0,
            shape,
        })
    }

    /// Connects all who are not, and signs what they will ask for.
    pub fn connect(&mut self) -> Result<(), String> {
        for index in 0..self.seats.len() {
            watchdog::at(index);
            if self.seats[index].stream.is_some() {
                continue;
            }
            let source = source_address(self.target, index, self.shape.sources);
            let line = Line::connect(source, self.target, &self.path)
                .map_err(|error| format!("the server does not speak Pusher at {}: {error}", self.path))?;
            let (stream, held, socket_id) = line.into_parts();
            self.epoll.add(stream.as_raw_fd(), index as u64).map_err(|e| format!("epoll: {e}"))?;
            let seat = &mut self.seats[index];
            let channel = &self.rooms[seat.room].channel;
            let data = json!({ "user_id": user_id(seat.number), "user_info": info(seat.number) }).to_string();
            let auth = channel_auth(&self.shape.app, &socket_id, channel, Some(&data));
            let text = format!(
                r#"{{"event":"pusher:subscribe","data":{{"auth":{},"channel":{},"channel_data":{}}}}}"#,
                json_string(&auth),
                json_string(channel),
                json_string(&data)
            );
            seat.request.clear();
            frame::push_masked(&mut seat.request, text.as_bytes(), [0; 4]);
            (seat.stream, seat.held) = (Some(stream), held);
        }
        Ok(())
    }

    /// All members come; over when each knows of all.
    pub fn join(&mut self) -> Result<Phase, String> {
        self.come(0..self.shape.members)
    }

    /// Guests come: users who are there already. Each gets the whole list, and nobody is told.
    pub fn join_again(&mut self) -> Result<Phase, String> {
        let phase = self.come(self.shape.members..self.seats.len())?;
        match phase.announcements {
            0 => Ok(phase),
            some => Err(format!("{some} announcements of users who were there already")),
        }
    }

    /// Guests go, every other one by the end of its connection. Nobody may be told, which the next phases notice.
    pub fn leave_again(&mut self) -> Result<(), String> {
        (self.shape.members..self.seats.len()).try_for_each(|index| self.go(index, index % 2 == 0))
    }

    fn come(&mut self, who: Range<usize>) -> Result<Phase, String> {
        self.expect(self.shape.room_size());
        let mut phase = Phase { members: who.len() as u64, ..Phase::default() };
        let watch = Stopwatch::start()?;
        let mut waiting = who.clone();
        let mut progress = (0, Instant::now());
        while self.done < who.len() {
            let asked = (waiting.start - who.start) as u64;
            for _ in asked - phase.lists.0..self.shape.concurrency as u64 {
                let Some(index) = waiting.next() else { break };
                let seat = &mut self.seats[index];
                self.rooms[seat.room].asked.add(seat.number);
                (seat.state, seat.asked_at) = (State::Asked, Instant::now());
                seat.send(&seat.request)?;
            }
            self.wait(Duration::from_millis(100), &mut phase)?;
            watchdog::at(phase.lists.0 as usize);
            self.check_progress(&mut progress, &phase, who.len())?;
        }
        phase.stop(&watch)?;
        Ok(phase)
    }

    /// All go but one in ten: every other one by the end of its connection. Over when all who stay know.
    pub fn leave(&mut self) -> Result<Phase, String> {
        let (members, stayers) = (self.shape.members, self.shape.stayers());
        let goers: Vec<usize> = (0..members).filter(|&index| self.seats[index].number >= stayers).collect();
        let stay = members - goers.len();
        self.expect(stayers);
        let mut phase = Phase { members: goers.len() as u64, ..Phase::default() };
        let watch = Stopwatch::start()?;
        let mut turns = goers.chunks(self.shape.concurrency);
        let mut progress = (0, Instant::now());
        while self.done < stay {
            let turn = turns.next();
            for &index in turn.unwrap_or_default() {
                let Seat { room, number, .. } = self.seats[index];
                let room = &mut self.rooms[room];
                room.leaving.add(number);
                room.told[number] = (0, Instant::now());
                self.go(index, index % 2 == 0)?;
            }
            let patience = if turn.is_some() { Duration::ZERO } else { Duration::from_millis(100) };
            self.wait(patience, &mut phase)?;
            watchdog::at(self.done);
            self.check_progress(&mut progress, &phase, stay)?;
        }
        phase.stop(&watch)?;
        Ok(phase)
    }

    /// Those who have stayed go too, and everybody forgets.
    pub fn end(&mut self) -> Result<(), String> {
        for index in 0..self.shape.members {
            if self.seats[index].state == State::In {
                self.go(index, false)?;
            }
        }
        Ok(())
    }

    /// Forgets the round, once nothing of it can come any more.
    pub fn forget(&mut self) {
        for seat in &mut self.seats {
            seat.state = State::Out;
            seat.known.clear();
        }
        for room in &mut self.rooms {
            room.asked.clear();
            room.leaving.clear();
        }
    }

    /// Reads all that has come; returns how many bytes. What nobody may be told is an error.
    pub fn read_all(&mut self) -> Result<u64, String> {
        let mut phase = Phase::default();
        for index in 0..self.seats.len() {
            while self.read(index, &mut phase)? {}
        }
        Ok(phase.bytes)
    }

    /// From now on, who knows of `goal` members is done.
    fn expect(&mut self, goal: usize) {
        (self.goal, self.done) = (goal, 0);
        self.seats.iter_mut().for_each(|seat| seat.done = false);
    }

    fn go(&mut self, index: usize, cut: bool) -> Result<(), String> {
        let seat = &mut self.seats[index];
        seat.state = State::Gone;
        if cut {
            (seat.stream, seat.held) = (None, Vec::new());
            return Ok(());
        }
        let channel = json_string(&self.rooms[seat.room].channel);
        let text = format!(r#"{{"event":"pusher:unsubscribe","data":{{"channel":{channel}}}}}"#);
        let mut out = Vec::new();
        frame::push_masked(&mut out, text.as_bytes(), [0; 4]);
        seat.send(&out)
    }

    fn check_progress(&self, at: &mut (u64, Instant), phase: &Phase, due: usize) -> Result<(), String> {
        if at.0 != phase.bytes {
            *at = (phase.bytes, Instant::now());
        } else if at.1.elapsed() > STALL_TIMEOUT {
            return Err(format!(
                "nothing has come for {STALL_TIMEOUT:?}: {} of {due} members know of all who are there, {} lists and {} \
                 announcements have come",
                self.done, phase.lists.0, phase.announcements
            ));
        }
        Ok(())
    }

    fn wait(&mut self, patience: Duration, phase: &mut Phase) -> Result<(), String> {
        let mut tags = std::mem::take(&mut self.tags);
        tags.clear();
        self.epoll.wait(Some(patience), &mut tags).map_err(|e| format!("epoll: {e}"))?;
        for &tag in &tags {
            self.read(tag as usize, phase)?;
        }
        self.tags = tags;
        Ok(())
    }

    /// Reads a socket once. False if nothing had come.
    fn read(&mut self, index: usize, phase: &mut Phase) -> Result<bool, String> {
        let Crowd { seats, rooms, buffer, goal, done, shape, .. } = self;
        let seat = &mut seats[index];
        let told = |error: String| format!("member {index} ({}): {error}", user_id(index / shape.rooms));
        let Some(stream) = &seat.stream else { return Ok(false) };
        let got = match sys::recv_now(stream.as_raw_fd(), buffer).map_err(|e| told(e.to_string()))? {
            Received::Nothing => return Ok(false),
            Received::Closed => return Err(told("the server closed the connection".to_owned())),
            Received::Bytes(got) => got,
        };
        phase.bytes += got as u64;
        let room = &mut rooms[seat.room];
        let mut held = std::mem::take(&mut seat.held);
        let bytes = if held.is_empty() {
            &buffer[..got]
        } else {
            held.extend_from_slice(&buffer[..got]);
            &held[..]
        };
        let mut used = 0;
        while let Some(found) = frame::next(&bytes[used..], TEXT_BYTES).map_err(|e| told(e.to_string()))? {
            let payload = &bytes[used..][found.payload.clone()];
            match found.kind {
                Kind::Message => {
                    let whole = index.is_multiple_of(WHOLE_EVERY);
                    seat.take(room, payload, whole, shape.stayers(), phase).map_err(told)?;
                }
                Kind::Ping => seat.send(&frame::pong(payload)).map_err(told)?,
                Kind::Pong => {}
                Kind::Close => return Err(told("a close frame".to_owned())),
            }
            used += found.payload.end;
        }
        if held.is_empty() {
            held.extend_from_slice(&buffer[used..got]);
        } else {
            held.drain(..used);
        }
        if held.is_empty() && held.capacity() > KEPT_BYTES {
            held = Vec::new();
        }
        seat.held = held;
        if seat.state == State::In && !seat.done && seat.known.len() == *goal {
            seat.done = true;
            *done += 1;
        }
        Ok(true)
    }
}

impl Seat {
    fn send(&self, bytes: &[u8]) -> Result<(), String> {
        let Some(stream) = &self.stream else { return Err("this member is cut".to_owned()) };
        let sent = sys::send_now(stream.as_raw_fd(), bytes).map_err(|e| e.to_string())?;
        if sent < bytes.len() { Err("the server does not read".to_owned()) } else { Ok(()) }
    }

    /// Takes a text. What cannot be true is an error.
    fn take(
        &mut self,
        room: &mut Room,
        text: &[u8],
        whole: bool,
        stayers: usize,
        phase: &mut Phase,
    ) -> Result<(), String> {
        let (known, mut wrong) = (&mut self.known, None);
        let coming = self.state == State::Asked;
        let told = room.reader.read(text, whole, |number| {
            if coming && !(room.asked.has(number) && known.add(number)) {
                wrong = Some(number);
            }
        })?;
        if let Some(number) = wrong {
            return Err(format!("m{number} is listed twice, or before it has come"));
        }
        match (told, self.state) {
            (Told::Nothing, _) => {}
            (Told::Ping, _) => {
                let mut out = Vec::new();
                frame::push_masked(&mut out, PONG.as_bytes(), [0; 4]);
                self.send(&out)?;
            }
            (Told::List(_), State::Asked) if !self.known.has(self.number) => {
                return Err("its list has everybody but itself".to_owned());
            }
            (Told::List(_), State::Asked) => {
                self.state = State::In;
                phase.lists.0 += 1;
                phase.lists.1 += text.len() as u64;
                phase.latencies.record(self.asked_at.elapsed().as_nanos() as u64);
            }
            (Told::Added(_) | Told::Removed(_), State::Gone) => phase.announcements += 1,
            (Told::Added(number), State::In) if room.asked.has(number) && self.known.add(number) => {
                phase.announcements += 1;
            }
            (Told::Removed(number), State::In) if room.leaving.has(number) && self.known.remove(number) => {
                phase.announcements += 1;
                let (told, left_at) = &mut room.told[number];
                *told += usize::from(!room.leaving.has(self.number));
                if *told == stayers && !room.leaving.has(self.number) {
                    phase.latencies.record(left_at.elapsed().as_nanos() as u64);
                }
            }
            (told, _) => return Err(format!("told twice, or what has not happened: {told:?}")),
        }
        Ok(())
    }
}

impl Phase {
    fn stop(&mut self, watch: &Stopwatch) -> Result<(), String> {
        let mut round = Round::default();
        watch.stop(&mut round)?;
        self.wall_ns = round.wall_ns;
        self.client_share = (round.client_ns + round.client_delay_ns) as f64 / round.wall_ns as f64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::server::{Flaw, start};
    use super::*;
    use std::thread::sleep;

    /// A round of all phases, and what two of them brought.
    fn play(flaw: Flaw, rooms: usize) -> Result<(Phase, Phase), String> {
        let app = App::default();
        let shape = StormShape {
            members: 24,
            rooms,
            guests: 4,
            concurrency: 5,
            channel: "presence-test".to_owned(),
            sources: 2,
            app: app.clone(),
        };
        let mut crowd = Crowd::new(start(flaw, &app), shape)?;
        // The server of the tests has threads of its own, whose words may take a moment, and more on a busy machine.
        let settle = |crowd: &mut Crowd| {
            sleep(Duration::from_millis(300));
            crowd.read_all()
        };
        let mut phases = None;
        for _ in 0..2 {
            crowd.connect()?;
            let join = crowd.join()?;
            settle(&mut crowd)?;
            let again = crowd.join_again()?;
            assert_eq!((again.lists.0, again.announcements), (4, 0));
            crowd.leave_again()?;
            settle(&mut crowd)?;
            phases = Some((join, crowd.leave()?));
            settle(&mut crowd)?;
            crowd.end()?;
            settle(&mut crowd)?;
            crowd.forget();
        }
        phases.ok_or_else(|| "no round".to_owned())
    }

    #[test]
    fn everybody_knows_of_everybody_in_the_end() {
        for (rooms, size) in [(1, 24), (4, 6)] {
            let (join, leave) = play(Flaw::None, rooms).unwrap();
            // Each pair knows of each other by one list and one announcement.
            assert_eq!(join.announcements, (rooms * size * (size - 1) / 2) as u64);
            assert_eq!((join.members, join.lists.0, join.latencies.len()), (24, 24, 24));
            assert!(join.bytes > join.lists.1 && join.lists.1 > 0);
            let stayers = (size / 10).max(1) * rooms;
            assert_eq!(leave.members, 24 - stayers as u64);
            assert_eq!(leave.latencies.len(), leave.members, "each leave is known to all who stay");
            assert!(leave.announcements >= leave.members, "{leave:?}");
        }
    }

    #[test]
    fn a_flawed_server_is_told_for_what_it_is() {
        for (flaw, why) in [
            (Flaw::Twice, "told twice"),
            (Flaw::OwnAnnouncement, "told twice"),
            (Flaw::SecondConnection, "told twice"),
            (Flaw::StaleList, "nothing has come for"),
            (Flaw::Lose, "nothing has come for"),
            (Flaw::ForgetCut, "nothing has come for"),
        ] {
            let error = play(flaw, 1).unwrap_err();
            assert!(error.contains(why), "{flaw:?}: {error}");
        }
    }
}
