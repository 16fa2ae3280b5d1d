//! A deflated message that holds much more than it weighs is given up early, whatever the node would take.

use fanwire::limits::{WS_INFLATE_RATIO, WS_INFLATE_RATIO_FREE_BYTES, WsLimits};
use fanwire::wire::ws::close::RATIO;
use fanwire::wire::ws::deflate::{Compressor, Inflater};

fn deflated(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Compressor::new(9, 15, false).compress(message, &mut out);
    out
}

#[test]
fn a_bomb_costs_no_more_than_its_weight_allows() {
    let limits = WsLimits { message_bytes: 256 << 20, ..WsLimits::default() };
    let bomb = deflated(&vec![0; 16 << 20]);
    let allowed = (bomb.len() * WS_INFLATE_RATIO).max(WS_INFLATE_RATIO_FREE_BYTES);
    assert!(allowed < 4 << 20, "{} bytes hold 16 MiB", bomb.len());
    for takeover in [false, true] {
        let mut inflater = Inflater::new(takeover);
        assert_eq!(inflater.inflate(&bomb, &limits), Err(RATIO));
        assert!(inflater.buffer_bytes() <= allowed + 1, "{}", inflater.buffer_bytes());
    }
    let any = WsLimits { inflate_ratio: 0, ..limits };
    assert_eq!(Inflater::new(false).inflate(&bomb, &any).map(<[u8]>::len), Ok(16 << 20));
    // Over both bounds it is the size that is told of.
    let small = WsLimits { message_bytes: 1000, ..limits };
    let told = Inflater::new(false).inflate(&bomb, &small).unwrap_err();
    assert!(told.code == RATIO.code && told != RATIO, "{told}");
}

#[test]
fn what_people_write_is_no_bomb() {
    let limits = WsLimits::default();
    let one =
        |n: u32| format!(r#"{{"event":"message","channel":"room-{}","data":{{"number":{n}}}}},"#, n % 7);
    let message: String = (0..16_000).map(one).collect();
    for message in [message.as_bytes(), &vec![0; WS_INFLATE_RATIO_FREE_BYTES]] {
        assert!(Inflater::new(false).inflate(&deflated(message), &limits) == Ok(message));
    }
}
