//! Idle connections of several servers, side by side.

use super::Measured;
use crate::options::{Channels, IdleArgs};
use crate::report::{self, JsonLine, table};

/// Prints what was measured of each server, by name; the first is what the others are compared with.
pub fn print(all: &[(String, Measured)], args: &IdleArgs) {
    let own = all.first().map_or(f64::NAN, |first| first.1.growth.pss);
    for (name, measured) in all {
        report::emit(json(name, measured, own, args), args.server.json);
    }
    if args.server.json {
        return;
    }
    let channels = if args.channels == Channels::One { "one channel" } else { "a channel each" };
    println!(
        "{} idle WebSocket connections, {channels}; one server at a time; bytes per connection",
        args.subscribers
    );
    print!("{}", table(&rows(all)));
    println!(
        "user: PSS of all its processes; waiting: epoll entries, io_uring requests; its end: user + waiting + half the sockets"
    );
    if all.iter().any(|(_, measured)| measured.growth.kernel.is_empty()) {
        println!("kernel memory is not told: /proc/slabinfo needs root");
    }
    for (name, measured) in all {
        if !measured.rested {
            println!("{name}: never came to rest: its memory is that of a running server");
        }
        if measured.huge > 0 {
            println!(
                "{name}: {} KiB in transparent huge pages: user memory moves in steps of 2 MiB",
                measured.huge / 1024
            );
        }
    }
}

fn rows(all: &[(String, Measured)]) -> Vec<Vec<String>> {
    let own = all.first();
    let name = own.map_or("", |first| &first.0);
    let titles = [
        "",
        "user",
        &format!("x {name}"),
        "private dirty",
        "waiting",
        "its end",
        "both ends",
        "idle CPU %",
        "pings",
        "connect us",
    ];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for (name, Measured { growth, calm, connect_us, .. }) in all {
        // An empty sum is -0.
        let kernel = |bytes: f64| {
            if growth.kernel.is_empty() { "?".to_owned() } else { format!("{:.0}", bytes + 0.0) }
        };
        let ratio = own.map_or(f64::NAN, |own| growth.pss / own.1.growth.pss);
        rows.push(vec![
            name.clone(),
            format!("{:.0}", growth.pss),
            format!("{ratio:.1}"),
            format!("{:.0}", growth.private_dirty),
            kernel(growth.wait()),
            kernel(growth.server_end()),
            kernel(growth.both_ends()),
            format!("{:.3}", calm.cpu_share * 100.0),
            calm.pings.2.to_string(),
            format!("{connect_us:.0}"),
        ]);
    }
    rows
}

fn json(name: &str, measured: &Measured, own: f64, args: &IdleArgs) -> JsonLine {
    let Measured { growth, huge, calm, .. } = measured;
    let mut line = JsonLine::new("idle", name)
        .text("kind", "summary")
        .number("connections", args.subscribers as f64)
        .number("user_pss_bytes", growth.pss)
        .number("user_pss_ratio_to_first", growth.pss / own)
        .number("user_private_dirty_bytes", growth.private_dirty)
        .number("anon_huge_bytes_total", *huge as f64)
        .number("idle_seconds", calm.seconds)
        .number("idle_cpu_percent", calm.cpu_share * 100.0)
        .number("pings", calm.pings.2 as f64)
        .number("came_to_rest", f64::from(u8::from(measured.rested)));
    if !growth.kernel.is_empty() {
        line = line
            .number("kernel_wait_bytes", growth.wait())
            .number("kernel_sockets_both_ends_bytes", growth.sockets())
            .number("server_end_bytes", growth.server_end())
            .number("both_ends_bytes", growth.both_ends());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::{Calm, Growth, PerConnection};
    use super::*;

    #[test]
    fn user_memory_is_told_as_a_multiple_of_the_first_s() {
        let measured = |pss, kernel: &[(&str, f64)]| {
            let kernel = kernel.iter().map(|(name, bytes)| (name.to_string(), *bytes)).collect();
            let growth = Growth {
                pss,
                private_dirty: pss,
                kernel,
                bare: PerConnection::new(),
                wait_names: Vec::new(),
            };
            let calm = Calm { seconds: 1.0, cpu_share: 0.5, pings: (0, 0, 3) };
            Measured { growth, huge: 0, calm, connect_us: 9.0, rested: true }
        };
        let all = [
            ("own".to_owned(), measured(400.0, &[("TCP", 1000.0)])),
            ("big".to_owned(), measured(5000.0, &[])),
        ];
        let rows = rows(&all);
        assert_eq!(rows[0][2], "x own");
        assert_eq!(rows[1], ["own", "400", "1.0", "400", "0", "900", "1400", "50.000", "3", "9"]);
        assert_eq!(rows[2][..5], ["big", "5000", "12.5", "5000", "?"]);
        assert!(rows.iter().all(|row| row.len() == rows[0].len()));
    }
}
