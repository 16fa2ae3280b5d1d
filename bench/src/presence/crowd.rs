//! The members of the channel. One comes or goes at a time, so that at each moment it is known who is there, what the
//! list must say, and which announcement everybody has to get next, once.

use super::line::{Line, Notice};
use crate::client::source_address;
use crate::load::ClientMode;
use crate::round::{Round, Stopwatch, Work};
use crate::sys::Epoll;
use crate::wire::pusher::{channel_auth, json_string};
use crate::wire::{App, Dialect, Wire};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// An announcement that lets somebody wait so long is lost.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes taken per read.
const READ_BYTES: usize = 64 * 1024;
/// Descriptors told per epoll wait.
const EPOLL_BATCH: usize = 1024;

/// Shape of the load.
#[derive(Clone, Debug)]
pub struct PresenceShape {
    /// Members who stay.
    pub watchers: usize,
    /// Members who come and go.
    pub users: usize,
    /// Keys.
    pub app: App,
    /// The channel.
    pub channel: String,
    /// Source addresses used.
    pub sources: usize,
    /// How to receive.
    pub client: ClientMode,
    /// Pause between sweeps.
    pub pause: Duration,
}

struct Seat {
    /// None once it was cut.
    line: Option<Line>,
    id: String,
    /// Whether it is in the channel.
    there: bool,
    /// Whether it has to be told of the change under way.
    lacks: bool,
}

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Comes,
    /// By unsubscribing.
    Goes,
    /// By the end of its connection.
    Cut,
}

/// See the module.
pub struct Crowd {
    shape: PresenceShape,
    /// Watchers first, then users.
    seats: Vec<Seat>,
    /// Changes of users made so far: all come in order, then all go.
    steps: usize,
    epoll: Option<Epoll>,
    tags: Vec<u64>,
    buffer: Vec<u8>,
}

fn info(id: &str) -> Value {
    json!({ "name": format!("member {id}") })
}

impl Crowd {
    /// Connects everybody, and lets the watchers come.
    pub fn connect(target: SocketAddrV4, shape: PresenceShape) -> Result<Crowd, String> {
        let path = Wire::of(Dialect::Pusher, &shape.channel, &shape.app).path;
        let epoll = match shape.client {
            ClientMode::Sweep => None,
            ClientMode::Epoll => Some(Epoll::new(EPOLL_BATCH).map_err(|e| format!("epoll: {e}"))?),
        };
        let mut seats = Vec::new();
        for index in 0..shape.watchers + shape.users {
            let line = Line::connect(source_address(target, index, shape.sources), target, &path)
                .map_err(|error| format!("the server does not speak Pusher at {path}: {error}"))?;
            if let Some(epoll) = &epoll {
                epoll.add(line.fd(), index as u64).map_err(|e| format!("epoll: {e}"))?;
            }
            let id = match index.checked_sub(shape.watchers) {
                None => format!("w{index}"),
                Some(user) => format!("u{user}"),
            };
            seats.push(Seat { line: Some(line), id, there: false, lacks: false });
        }
        let (tags, buffer) = (Vec::new(), vec![0; READ_BYTES]);
        let mut crowd = Crowd { shape, seats, steps: 0, epoll, tags, buffer };
        let mut round = Round::default();
        for watcher in 0..crowd.shape.watchers {
            crowd.change(watcher, Change::Comes, &mut round)?;
        }
        Ok(crowd)
    }

    /// Makes one change and waits until everybody there has been told.
    fn change(&mut self, who: usize, change: Change, round: &mut Round) -> Result<(), String> {
        let begun = Instant::now();
        // Who comes gets the list instead.
        self.seats[who].there = change == Change::Comes;
        for seat in &mut self.seats {
            seat.lacks = seat.there;
        }
        let told = self.seats.iter().enumerate().filter(|(index, seat)| seat.lacks && *index != who).count();
        self.request(who, change)?;
        let mut reads_at = (round.reads, begun);
        while self.seats.iter().any(|seat| seat.lacks) {
            if self.epoll.is_some() {
                self.wait(who, change, round)?;
            } else {
                self.sweep(who, change, round)?;
            }
            if reads_at.0 != round.reads {
                reads_at = (round.reads, Instant::now());
            } else if reads_at.1.elapsed() > STALL_TIMEOUT {
                let lacking: Vec<&str> =
                    self.seats.iter().filter(|seat| seat.lacks).map(|seat| &*seat.id).collect();
                return Err(format!(
                    "{} {change:?}: after {STALL_TIMEOUT:?}, {} of {told} others and itself have not been told, among \
                     them {}",
                    self.seats[who].id,
                    lacking.len(),
                    lacking[0]
                ));
            }
        }
        round.latencies.record(begun.elapsed().as_nanos() as u64);
        round.messages += 1;
        round.deliveries += told as u64;
        Ok(())
    }

    fn request(&mut self, who: usize, change: Change) -> Result<(), String> {
        let PresenceShape { app, channel, .. } = &self.shape;
        let seat = &mut self.seats[who];
        if change == Change::Cut {
            seat.line = None;
            return Ok(());
        }
        let line = seat.line.as_ref().ok_or("this member was cut")?;
        let channel_json = json_string(channel);
        if change == Change::Goes {
            return line
                .say(&format!(r#"{{"event":"pusher:unsubscribe","data":{{"channel":{channel_json}}}}}"#));
        }
        let data = json!({ "user_id": seat.id, "user_info": info(&seat.id) }).to_string();
        let auth = channel_auth(app, &line.socket_id, channel, Some(&data));
        line.say(&format!(
            r#"{{"event":"pusher:subscribe","data":{{"auth":{},"channel":{channel_json},"channel_data":{}}}}}"#,
            json_string(&auth),
            json_string(&data)
        ))
    }

    fn sweep(&mut self, who: usize, change: Change, round: &mut Round) -> Result<(), String> {
        if !self.shape.pause.is_zero() {
            sleep(self.shape.pause);
        }
        for index in 0..self.seats.len() {
            if self.seats[index].lacks {
                self.read(index, Some((who, change)), round)?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, who: usize, change: Change, round: &mut Round) -> Result<(), String> {
        let Some(epoll) = &mut self.epoll else { return Ok(()) };
        let mut tags = std::mem::take(&mut self.tags);
        tags.clear();
        epoll.wait(Some(Duration::from_millis(100)), &mut tags).map_err(|e| format!("epoll: {e}"))?;
        for &tag in &tags {
            self.read(tag as usize, Some((who, change)), round)?;
        }
        self.tags = tags;
        Ok(())
    }

    /// Reads one member's socket once. What comes must be what `change` makes due.
    fn read(
        &mut self,
        index: usize,
        change: Option<(usize, Change)>,
        round: &mut Round,
    ) -> Result<(), String> {
        let Some(mut line) = self.seats[index].line.take() else { return Ok(()) };
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = line.read(&self.shape.channel, &mut buffer, |notice| {
            check(&self.seats, index, change, &notice)?;
            self.seats[index].lacks = false;
            Ok(())
        });
        self.buffer = buffer;
        let seat = &mut self.seats[index];
        seat.line = Some(line);
        round.reads += u64::from(read.map_err(|error| format!("member {}: {error}", seat.id))?);
        Ok(())
    }

    /// Lets all users come once more, and cuts their connections one after the other.
    pub fn cut(&mut self) -> Result<Round, String> {
        let users = self.shape.watchers..self.seats.len();
        let (mut coming, mut cut) = (Round::default(), Round::default());
        for user in users.clone().filter(|user| !self.seats[*user].there).collect::<Vec<_>>() {
            self.change(user, Change::Comes, &mut coming)?;
        }
        for user in users {
            self.change(user, Change::Cut, &mut cut)?;
        }
        self.check_nothing_left()?;
        Ok(cut)
    }
}

/// Refuses a notice to `index` that is not what `change` makes due.
fn check(
    seats: &[Seat],
    index: usize,
    change: Option<(usize, Change)>,
    notice: &Notice,
) -> Result<(), String> {
    let due = change.filter(|_| seats[index].lacks);
    match (notice, due) {
        (Notice::List(members), Some((who, Change::Comes))) if who == index => {
            let there = seats.iter().filter(|seat| seat.there);
            members.check(&there.map(|seat| (&*seat.id, info(&seat.id))).collect::<BTreeMap<_, _>>())
        }
        (Notice::Added { user_id, user_info }, Some((who, Change::Comes)))
            if who != index && *user_id == seats[who].id =>
        {
            if *user_info == info(user_id) {
                Ok(())
            } else {
                Err(format!("{user_id} is announced with other data: {user_info}"))
            }
        }
        (Notice::Removed { user_id }, Some((who, Change::Goes | Change::Cut)))
            if *user_id == seats[who].id =>
        {
            Ok(())
        }
        _ => Err(format!("told twice, or what has not happened: {notice:?}")),
    }
}

impl Work for Crowd {
    /// Lets users come and go for `time`.
    fn round(&mut self, time: Duration) -> Result<Round, String> {
        let mut round = Round::default();
        let watch = Stopwatch::start()?;
        loop {
            let users = self.shape.users;
            let (user, change) = match self.steps % (2 * users) {
                step if step < users => (step, Change::Comes),
                step => (step - users, Change::Goes),
            };
            self.change(self.shape.watchers + user, change, &mut round)?;
            self.steps += 1;
            if watch.begun().elapsed() >= time {
                break;
            }
        }
        watch.stop(&mut round)?;
        Ok(round)
    }

    fn check_nothing_left(&mut self) -> Result<(), String> {
        let mut round = Round::default();
        (0..self.seats.len()).try_for_each(|index| self.read(index, None, &mut round))
    }
}

#[cfg(test)]
mod tests {
    use super::super::server::{Flaw, start};
    use super::*;

    fn shape(client: ClientMode) -> PresenceShape {
        PresenceShape {
            watchers: 5,
            users: 3,
            app: App::default(),
            channel: "presence-test".to_owned(),
            sources: 2,
            client,
            pause: Duration::from_micros(100),
        }
    }

    /// Two rounds and the cut.
    fn play(flaw: Flaw, client: ClientMode) -> Result<(Round, Round), String> {
        let mut crowd = Crowd::connect(start(flaw, &App::default()), shape(client))?;
        crowd.round(Duration::from_millis(10))?;
        let round = crowd.round(Duration::from_millis(30))?;
        // What a flawed server sends too much may take a moment.
        sleep(Duration::from_millis(20));
        crowd.check_nothing_left()?;
        Ok((round, crowd.cut()?))
    }

    #[test]
    fn everybody_there_is_told_of_everybody_once() {
        for client in [ClientMode::Sweep, ClientMode::Epoll] {
            let (round, cut) = play(Flaw::None, client).unwrap();
            assert!(round.messages > 0 && round.latencies.len() == round.messages);
            // Between the watchers alone and all but one.
            assert!((5 * round.messages..=7 * round.messages).contains(&round.deliveries), "{round:?}");
            assert_eq!((cut.messages, cut.deliveries), (3, 7 + 6 + 5));
        }
    }

    #[test]
    fn a_flawed_server_is_told_for_what_it_is() {
        for (flaw, why) in [
            (Flaw::Twice, "told twice"),
            (Flaw::StaleList, "is missing in the list"),
            (Flaw::Lose, "have not been told"),
            (Flaw::ForgetCut, "have not been told"),
            (Flaw::OwnAnnouncement, "told twice, or what has not happened"),
        ] {
            let error = play(flaw, ClientMode::Sweep).unwrap_err();
            assert!(error.contains(why), "{flaw:?}: {error}");
        }
    }

    #[test]
    fn a_wrong_secret_is_refused_and_told() {
        let mut shape = shape(ClientMode::Sweep);
        shape.app.secret = "other".to_owned();
        let Err(error) = Crowd::connect(start(Flaw::None, &App::default()), shape) else { panic!("let in") };
        assert!(error.contains("4009"), "{error}");
    }

    #[test]
    fn a_server_without_pusher_is_told_plainly() {
        let address = crate::load::tests::start_floor(crate::floor::Mode::Send);
        let Err(error) = Crowd::connect(address, shape(ClientMode::Sweep)) else { panic!("let in") };
        assert!(error.contains("does not speak Pusher at /app/app-key"), "{error}");
    }
}
