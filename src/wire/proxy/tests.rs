use super::*;
use proptest::prelude::*;

/// A header of version 2 with its length filled in.
fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    out.extend_from_slice(&[command, family]);
    out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    out.extend_from_slice(payload);
    out
}

fn tcp4() -> Vec<u8> {
    [&[192, 0, 2, 7, 198, 51, 100, 1][..], &40_000u16.to_be_bytes(), &443u16.to_be_bytes()].concat()
}

/// The same header with a right checksum behind it.
fn with_checksum(payload: &[u8]) -> Vec<u8> {
    let mut out = v2(0x21, 0x11, &[payload, &[TLV_CRC32C, 0, 4, 0, 0, 0, 0]].concat());
    let sum = !crc32c(!0, &out);
    let at = out.len() - 4;
    out[at..].copy_from_slice(&sum.to_be_bytes());
    out
}

fn address(text: &str) -> Source {
    Source::Address(text.parse().unwrap())
}

#[test]
fn the_checksum_is_the_one_of_the_standard() {
    // RFC 3720 appendix B.4.
    assert_eq!(!crc32c(!0, &[0; 32]), 0x8a91_36aa);
    assert_eq!(!crc32c(!0, &[0xff; 32]), 0x62a8_ab43);
    assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
}

#[test]
fn lines_of_version_1_are_understood() {
    for (line, source) in [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n", address("192.0.2.7:40000")),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", address("255.255.255.255:65535")),
        ("PROXY TCP6 2001:db8::1 ::1 0 80\r\n", address("[2001:db8::1]:0")),
        ("PROXY UNKNOWN\r\n", Source::Peer),
        ("PROXY UNKNOWN ffff:f...f:ffff whatever 65535 65535\r\n", Source::Peer),
    ] {
        let expected = Header { len: line.len(), source };
        assert_eq!(parse(format!("{line}GET / HTTP/1.1").as_bytes()), Ok(Some(expected)), "{line}");
    }
}

#[test]
fn lines_that_are_not_of_version_1_are_refused() {
    for line in [
        "PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 40000 443 1\r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 40000 443\r\n",
        "PROXY TCP4 192.0.2.07 198.51.100.1 40000 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 040000 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +1 443\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY \r\n",
        "PROXY\r\n",
        "proxy UNKNOWN\r\n",
        "GET / HTTP/1.1\r\n",
        "\r\nGET",
        "\x16\x03\x01",
    ] {
        assert!(parse(line.as_bytes()).is_err(), "{line:?}");
    }
}

#[test]
fn a_line_of_version_1_has_107_bytes_at_most() {
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(PROXY_V1_BYTES - 16));
    assert_eq!(longest.len(), PROXY_V1_BYTES);
    assert_eq!(parse(longest.as_bytes()).unwrap().unwrap().len, PROXY_V1_BYTES);
    let longer = longest.replace("\r\n", "x\r\n");
    assert_eq!(parse(longer.as_bytes()), Err(Fault("PROXY line too long")));
    assert_eq!(parse(&longer.as_bytes()[..PROXY_V1_BYTES - 1]), Ok(None));
}

#[test]
fn headers_of_version_2_are_understood() {
    let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 16], &[1, 2], &[3, 4]].concat();
    let extra = [tcp4(), vec![4, 0, 3, 1, 2, 3]].concat();
    for (bytes, source) in [
        (v2(0x21, 0x11, &tcp4()), address("192.0.2.7:40000")),
        (v2(0x21, 0x21, &v6), address("[2001:db8::1]:258")),
        (v2(0x21, 0x31, &[b'x'; 216]), Source::Unix),
        (v2(0x21, 0x00, &[]), Source::Peer),
        (v2(0x20, 0x00, &[]), Source::Peer),
        (v2(0x20, 0x99, b"nobody looks at this"), Source::Peer),
        (v2(0x21, 0x11, &extra), address("192.0.2.7:40000")),
        (with_checksum(&tcp4()), address("192.0.2.7:40000")),
        (with_checksum(&extra), address("192.0.2.7:40000")),
    ] {
        assert_eq!(parse(&bytes), Ok(Some(Header { len: bytes.len(), source })), "{bytes:?}");
    }
}

#[test]
fn headers_that_are_not_of_version_2_are_refused() {
    let mut wrong_sum = with_checksum(&tcp4());
    *wrong_sum.last_mut().unwrap() ^= 1;
    let mut wrong_address = with_checksum(&tcp4());
    wrong_address[FIXED_BYTES] ^= 1;
    for (bytes, fault) in [
        (v2(0x11, 0x11, &tcp4()), "unknown version of the PROXY protocol"),
        (v2(0x22, 0x11, &tcp4()), "unknown command of the PROXY protocol"),
        (v2(0x21, 0x12, &tcp4()), "PROXY header for another kind of connection"),
        (v2(0x21, 0x41, &tcp4()), "PROXY header for another kind of connection"),
        (v2(0x21, 0x11, &tcp4()[..11]), "PROXY header too short for its addresses"),
        (v2(0x21, 0x21, &tcp4()), "PROXY header too short for its addresses"),
        (v2(0x21, 0x31, &tcp4()), "PROXY header too short for its addresses"),
        (v2(0x21, 0x11, &[tcp4(), vec![4, 0]].concat()), "PROXY extension cut off"),
        (v2(0x21, 0x11, &[tcp4(), vec![4, 0, 9, 1]].concat()), "PROXY extension cut off"),
        (v2(0x21, 0x11, &[tcp4(), vec![3, 0, 1, 1]].concat()), "PROXY checksum of another length"),
        (wrong_sum, "PROXY checksum is wrong"),
        (wrong_address, "PROXY checksum is wrong"),
        (v2(0x21, 0x11, &[0; PROXY_V2_BYTES]), "PROXY header too long"),
    ] {
        assert_eq!(parse(&bytes), Err(Fault(fault)), "{bytes:?}");
    }
    assert!(parse(&[&SIGNATURE[..], b"\x31"].concat()).is_err(), "refused at the byte that shows it");
}

#[test]
fn what_is_written_is_read() {
    for source in [Source::Peer, Source::Unix, address("192.0.2.7:40000"), address("[2001:db8::1]:0")] {
        let bytes = write(source);
        assert_eq!(parse(&bytes), Ok(Some(Header { len: bytes.len(), source })));
    }
}

/// A header that is right, or nearly.
fn header() -> impl Strategy<Value = Vec<u8>> {
    let v1 = (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| {
        format!("PROXY TCP4 {} 10.0.0.1 {port} 80\r\n", Ipv4Addr::from(ip)).into_bytes()
    });
    let v6 = (any::<[u8; 16]>(), any::<u16>())
        .prop_map(|(ip, port)| format!("PROXY TCP6 {} ::1 {port} 80\r\n", Ipv6Addr::from(ip)).into_bytes());
    let any_v2 = (0u8..4, prop::sample::select(vec![0u8, 0x11, 0x21, 0x31, 0x12]), any::<Vec<u8>>())
        .prop_map(|(command, family, payload)| v2(0x20 | command, family, &payload));
    let tlvs = prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..9)), 0..4);
    let good_v2 = tlvs.prop_map(|tlvs| {
        let mut payload = tcp4();
        for (kind, value) in tlvs.iter().filter(|(kind, _)| *kind != TLV_CRC32C) {
            payload.extend_from_slice(&[*kind, 0, value.len() as u8]);
            payload.extend_from_slice(value);
        }
        with_checksum(&payload)
    });
    prop_oneof![v1, v6, any_v2, good_v2, any::<Vec<u8>>()]
}

proptest! {
    #[test]
    fn pieces_mean_what_the_whole_means(header in header(), behind in any::<Vec<u8>>()) {
        let whole = parse(&header);
        let all = [&header[..], &behind].concat();
        prop_assert_eq!(parse(&all).is_err(), whole.is_err() || parse(&all).is_err());
        for split in 0..=all.len() {
            let mut reader = Reader::default();
            let first = reader.step(&all[..split]);
            let found = match first {
                Ok(None) => reader.step(&all[split..]).map(|step| step.map(|(took, source)| (split + took, source))),
                other => other,
            };
            let expected = parse(&all).map(|header| header.map(|header| (header.len, header.source)));
            prop_assert_eq!(found, expected, "split at {}", split);
        }
    }

    #[test]
    fn one_byte_at_a_time_takes_the_header_and_no_more(header in header()) {
        let (mut reader, mut taken) = (Reader::default(), 0);
        for byte in &header {
            match reader.step(std::slice::from_ref(byte)) {
                Ok(None) => taken += 1,
                Ok(Some((took, source))) => {
                    prop_assert_eq!(parse(&header), Ok(Some(Header { len: taken + took, source })));
                    return Ok(());
                }
                Err(_) => {
                    prop_assert!(parse(&header).is_err());
                    return Ok(());
                }
            }
        }
        prop_assert_eq!(parse(&header), Ok(None));
    }
}
