//! Long polls: one after the other with the id of the last answer, and such that are left.

use crate::http::Part;
use crate::peer::Peer;
use crate::stage::Stage;
use crate::target::letters;

/// The conditions of the next poll.
fn next(peer: &Peer) -> String {
    let parts = peer.parts();
    let Some(Part::Answer { head, .. }) = parts.last() else { return String::new() };
    let header = |name: &str| {
        head.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned).unwrap_or_default()
    };
    format!("If-Modified-Since:{}\r\nIf-None-Match:{}\r\n", header("Last-Modified:"), header("Etag:"))
}

fn poll(stage: &mut Stage<'_>, peer: &mut Peer, channel: &str) {
    let conditions = next(peer);
    peer.heads.push(false);
    let request = format!("GET /new/{channel} HTTP/1.1\r\nHost: a\r\n{conditions}\r\n");
    peer.send_cut(request.as_bytes(), &mut stage.rng);
}

pub fn play(stage: &mut Stage<'_>) {
    let channel = stage.channel("polls");
    let (mut publisher, mut poller) = (stage.connect("publisher"), stage.connect("poller"));
    for _ in 0..1 + stage.rng.below(5) {
        poll(stage, &mut poller, &channel);
        stage.until_subscribers(&channel, 1);
        let len = 1 + stage.rng.below(3000);
        let body = letters(&mut stage.rng, len);
        stage.publish(&mut publisher, &channel, "", &body);
        poller.answers();
    }
    // One is held while its client leaves, or sends the next request, or says that it will send no more.
    poll(stage, &mut poller, &channel);
    stage.until_subscribers(&channel, 1);
    match stage.rng.below(3) {
        0 => poller.leave_somehow(&mut stage.rng),
        1 => {
            poller.half_close();
            poller.until_end();
        }
        _ => {
            stage.publish(&mut publisher, &channel, "", b"at last");
            poller.answers();
            poller.leave_somehow(&mut stage.rng);
        }
    }
    stage.until_subscribers(&channel, 0);
    stage.publish(&mut publisher, &channel, "", b"nobody is there");
    publisher.leave_somehow(&mut stage.rng);
    stage.done(poller);
    stage.done(publisher);
}
