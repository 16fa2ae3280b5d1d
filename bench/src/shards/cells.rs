//! The arrangements that are measured.

/// How a cell works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Many publishes at once: shards are awake, mail travels in batches.
    Busy,
    /// One publish at a time: everybody sleeps in between and has to be woken.
    Lone,
    /// One publish at a time to many subscribers.
    Crowd,
}

/// Who lives where. Publishers are always on shard 0.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Its name in the output.
    pub name: &'static str,
    /// How it works.
    pub kind: Kind,
    /// Shard that owns the channel.
    pub home: usize,
    /// Shard of each publisher.
    pub publishers: Vec<usize>,
    /// Shard of each subscriber.
    pub subscribers: Vec<usize>,
    /// Publishes that each publisher writes at once.
    pub window: usize,
}

impl Cell {
    /// Mails that one publish sends: to a home elsewhere and back, and to each other shard with subscribers.
    pub fn mails(&self) -> u64 {
        let asks = if self.home == 0 { 0 } else { 2 };
        let mut shards = self.subscribers.clone();
        shards.sort_unstable();
        shards.dedup();
        asks + shards.iter().filter(|&&shard| shard != self.home).count() as u64
    }
}

/// The cells of a node with so many shards. Those that need a second shard are left out where there is none.
pub fn all(shards: usize, publishers: usize, pipeline: usize, subscribers: usize) -> Vec<Cell> {
    let busy = |name, home, subscribers: Vec<usize>| Cell {
        name,
        kind: Kind::Busy,
        home,
        publishers: vec![0; publishers],
        subscribers,
        window: pipeline,
    };
    let one = |name, kind, home, subscribers: Vec<usize>| Cell {
        name,
        kind,
        home,
        publishers: vec![0],
        subscribers,
        window: 1,
    };
    let everywhere = |count: usize| (0..count).map(|n| n % shards).collect::<Vec<_>>();
    let mut cells = vec![
        busy("silent", 0, vec![]),
        busy("near", 0, vec![0]),
        one("silent, lone", Kind::Lone, 0, vec![]),
        one("near, lone", Kind::Lone, 0, vec![0]),
        one("crowd", Kind::Crowd, 0, vec![0; subscribers]),
    ];
    if shards > 1 {
        cells.extend([
            busy("silent, home away", 1, vec![]),
            busy("subscriber away", 0, vec![1]),
            busy("home away", 1, vec![1]),
            busy("home away and back", 1, vec![0]),
            busy("gathered", 0, vec![0; shards]),
            busy("spread", 0, everywhere(shards)),
            one("silent, home away, lone", Kind::Lone, 1, vec![]),
            one("subscriber away, lone", Kind::Lone, 0, vec![1]),
            one("home away, lone", Kind::Lone, 1, vec![1]),
            one("crowd, spread", Kind::Crowd, 0, everywhere(subscribers)),
        ]);
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mails_are_commands_answers_and_deliveries() {
        let cells = all(4, 2, 2, 10);
        let mails = |name: &str| cells.iter().find(|cell| cell.name == name).unwrap().mails();
        assert_eq!((mails("near"), mails("subscriber away"), mails("home away")), (0, 1, 2));
        assert_eq!((mails("home away and back"), mails("silent, home away")), (3, 2));
        assert_eq!((mails("gathered"), mails("spread"), mails("crowd, spread")), (0, 3, 3));
    }

    #[test]
    fn one_shard_has_only_what_happens_on_it() {
        let cells = all(1, 2, 2, 10);
        assert!(cells.iter().all(|cell| cell.mails() == 0 && cell.home == 0));
        let names: std::collections::BTreeSet<_> = all(2, 2, 2, 10).iter().map(|cell| cell.name).collect();
        assert!(cells.iter().all(|cell| names.contains(cell.name)), "each has its counterpart");
    }
}
